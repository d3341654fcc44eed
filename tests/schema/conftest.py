"""A config whose training takes a moment: a toy detector on two images."""

import json
from pathlib import Path

import pytest
from detectron2.config import LazyCall
from omegaconf import DictConfig
from PIL import Image
from toy_detector import ToyDetector

from stageinteractor.config import get_config

CATEGORIES = [{"id": 1, "name": "disc"}]


@pytest.fixture(scope="session")
def two_images(tmp_path_factory) -> Path:
    """A COCO-format set of two images with a box each."""
    folder = tmp_path_factory.mktemp("two_images")
    images, annotations = [], []
    for number in (1, 2):
        Image.new("RGB", (40, 30), (50 * number, 0, 0)).save(folder / f"{number}.png")
        size = {"width": 40, "height": 30}
        images.append({"id": number, "file_name": f"{number}.png"} | size)
        box = {"bbox": [5, 5, 20, 10], "category_id": 1}
        annotations.append({"id": number, "image_id": number} | box)
    content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (folder / "set.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def toy(two_images, tmp_path) -> DictConfig:
    """The shared parts of the zoo's configs, for one iteration of the toy detector."""
    cfg = get_config("common/data/coco_format.py")
    cfg.train = get_config("common/train.py").train
    cfg.optimizer = get_config("common/optim.py").optimizer
    cfg.lr_multiplier = get_config("common/schedule.py").one_cycle
    cfg.model = LazyCall(ToyDetector)()
    for split in ("train", "val"):
        cfg.dataset[split] = {"json": str(two_images / "set.json"), "images": str(two_images)}
    for loader in (cfg.dataloader.train, cfg.dataloader.test):
        loader.num_workers = 0
        loader.mapper.augmentations[-1].short_edge_length = 30
    cfg.dataloader.train.total_batch_size = 2
    cfg.train.update(output_dir=str(tmp_path / "run"), device="cpu", max_iter=1, writers=[])
    return cfg
