"""Recipes for detrex's trainer, completed for ours; detrex itself is not needed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data import transforms as T
from detectron2.data.datasets import register_coco_instances
from integrations import detrex_host
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from stageinteractor.config import apply_overrides, instantiate, load_config, save_config
from stageinteractor.engine.config_checks import check_data_nodes, check_model_classes
from stageinteractor.errors import ConfigError

RECIPE = """
from detectron2.config import LazyCall as L
from detectron2.data import build_detection_test_loader, build_detection_train_loader
from detectron2.data import DatasetMapper, get_detection_dataset_dicts
from detectron2.data import transforms as T
from detectron2.evaluation import COCOEvaluator
from torch import nn


class DetrDatasetMapper:
    pass


_resize = L(T.ResizeShortestEdge)(short_edge_length=(32, 40), sample_style="choice")
dataloader = dict(
    train=L(build_detection_train_loader)(
        dataset=L(get_detection_dataset_dicts)(names="{name}_train"),
        mapper=L(DetrDatasetMapper)(
            augmentation=[_resize], augmentation_with_crop={crop}, is_train=True, mask_on=False,
            img_format="BGR",
        ),
        total_batch_size=16,
    ),
    test=L(build_detection_test_loader)(
        dataset=L(get_detection_dataset_dicts)(names="{name}_val", filter_empty=False),
        mapper=L(DetrDatasetMapper)(
            augmentation=[_resize], augmentation_with_crop=None, is_train=False, mask_on=False
        ),
    ),
    evaluator=L(COCOEvaluator)(dataset_name="{name}_val", output_dir="./output/old"),
)
model = L(nn.Module)(
    num_classes=80,
    criterion=dict(num_classes=80, matcher=dict(num_classes="${{..num_classes}}")),
    backbone=dict(num_classes=1000),
    device="cuda",
)
optimizer = dict(lr_factor_func=lambda name: 0.1 if "backbone" in name else 1)
train = dict(
    output_dir="./output/new", max_iter=90000, device="cuda", seed=-1, amp=dict(enabled=False),
    init_checkpoint="{weights}", model_ema=dict(enabled=False, decay=0.999, device=""),
)
"""
R50 = "detectron2://ImageNetPretrained/torchvision/R-50.pkl"


def recipe(folder: Path, name: str = "coco_2017", weights: str = R50, crop: str = "None") -> Path:
    file = folder / "recipe.py"
    file.write_text(RECIPE.format(name=name, weights=weights, crop=crop))
    return file


@pytest.fixture
def cfg(tmp_path: Path) -> DictConfig:
    return load_config(recipe(tmp_path))


def test_data_set_is_the_registered_one(cfg: DictConfig):
    assert cfg.dataset.name == "coco_2017" and cfg.dataset.num_classes == 80
    assert cfg.dataset.train.json.endswith("annotations/instances_train2017.json")
    assert cfg.dataset.val.images.endswith("coco/val2017")
    apply_overrides(cfg, ["dataset.name=own"])
    assert cfg.dataloader.train.dataset.names == "own_train"
    assert cfg.dataloader.test.dataset.names == cfg.dataloader.evaluator.dataset_name == "own_val"
    assert cfg.dataloader.train.dataset.filter_empty
    assert not cfg.dataloader.test.dataset.filter_empty


def test_data_set_that_is_not_registered_has_to_be_named(tmp_path: Path):
    cfg = load_config(recipe(tmp_path, name="no_such"))
    assert OmegaConf.is_missing(cfg.dataset.train, "json")


def test_own_registered_set_brings_its_files(tmp_path: Path):
    for split in ("train", "val"):
        register_coco_instances(f"mine_{split}", {}, f"{split}.json", "photos")
    try:
        cfg = load_config(recipe(tmp_path, name="mine"))
    finally:
        for split in ("train", "val"):
            DatasetCatalog.remove(f"mine_{split}")
            MetadataCatalog.remove(f"mine_{split}")
    assert cfg.dataset.train == {"json": "train.json", "images": "photos"}
    assert cfg.dataset.name == "mine"


def test_numbers_of_classes_follow_the_data_set(cfg: DictConfig):
    cfg.dataset.num_classes = 3
    assert cfg.model.num_classes == cfg.model.criterion.num_classes == 3
    assert cfg.model.criterion.matcher.num_classes == 3
    assert cfg.model.backbone.num_classes == 1000
    check_model_classes(cfg)


def test_copied_values_follow_their_source(cfg: DictConfig):
    apply_overrides(cfg, ["train.device=cpu", "train.output_dir=elsewhere"])
    assert cfg.model.device == cfg.dataloader.train.device == "cpu"
    assert cfg.dataloader.evaluator.output_dir == "elsewhere/evaluation"


def test_missing_keys_have_our_defaults(cfg: DictConfig):
    assert cfg.train.amp == {"enabled": False, "dtype": "auto"}
    assert (cfg.train.max_iter, cfg.train.model_ema.decay) == (90000, 0.999)
    apply_overrides(cfg, ["train.epochs=12", "train.accumulate=2"])


def test_pinned_weights_replace_detectron2s_address(tmp_path: Path, cfg: DictConfig):
    assert cfg.train.backbone_weights == "datasets/weights/resnet50.pth"
    assert cfg.train.init_checkpoint == ""
    other = load_config(recipe(tmp_path, weights="swin.pth"))
    assert (other.train.backbone_weights, other.train.init_checkpoint) == ("", "swin.pth")


def test_mapper_is_ours_with_the_same_augmentations(tmp_path: Path, cfg: DictConfig):
    mapper = instantiate(cfg.dataloader.train.mapper, "mapper")
    assert mapper.image_format == "BGR" and mapper.is_train
    assert [type(each) for each in mapper.augmentations.augs] == [T.ResizeShortestEdge]
    assert not instantiate(cfg.dataloader.test.mapper, "mapper").is_train
    both = load_config(recipe(tmp_path, crop="[L(T.RandomFlip)(), _resize]"))
    (choice,) = instantiate(both.dataloader.train.mapper, "mapper").augmentations.augs
    lengths = [len(chain.augs) for chain in choice.chains]
    assert lengths == [1, 2]


def test_boxes_from_masks_are_refused(tmp_path: Path):
    file = recipe(tmp_path)
    text = file.read_text().replace("L(DetrDatasetMapper)", "L(DatasetMapper)")
    text = text.replace("augmentation=", "recompute_boxes=True, augmentations=")
    file.write_text(text)
    cfg = load_config(file)
    cfg.dataset.name = "coco_2017"
    with pytest.raises(ConfigError, match="recompute_boxes"):
        check_data_nodes(cfg)


def test_function_of_a_recipe_is_refused_from_its_yaml(tmp_path: Path, cfg: DictConfig):
    save_config(cfg, tmp_path / "config.yaml")
    again = load_config(tmp_path / "config.yaml", trust=True)
    assert again.optimizer.lr_factor_func.where.startswith(f"{tmp_path / 'recipe.py'}:")
    with pytest.raises(ConfigError, match=r"recipe\.py"):
        instantiate(again.optimizer.lr_factor_func, "optimizer")
    assert again.dataset == cfg.dataset  # completed once


def test_other_configs_stay_as_they_are(tmp_path: Path):
    (tmp_path / "own.py").write_text("train = dict(seed=-1)\nmodel = dict()\ndataloader = dict()\n")
    assert load_config(tmp_path / "own.py") == {
        "train": {"seed": -1},
        "model": {},
        "dataloader": {},
    }


@pytest.mark.detrex
def test_mapper_does_what_detrexs_does(tmp_path: Path):
    detrex_host.arrange()
    from detrex.data import DetrDatasetMapper

    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    box = {"bbox": [5.0, 6.0, 20.0, 9.0], "bbox_mode": 1, "category_id": 2}
    boxes = [{**box, "iscrowd": crowd} for crowd in (0, 1)]
    record = {
        "file_name": str(tmp_path / "image.png"),
        "image_id": 1,
        "height": 30,
        "width": 50,
        "annotations": boxes,
    }
    cfg = load_config(recipe(tmp_path, crop="[L(T.CropTransform)(x0=2, y0=3, w=40, h=20)]"))
    ours = instantiate(cfg.dataloader.train.mapper, "mapper")
    resize = T.ResizeShortestEdge((32, 40), sample_style="choice")
    theirs = DetrDatasetMapper([resize], [T.CropTransform(2, 3, 40, 20)], img_format="BGR")
    results = {"ours": {}, "theirs": {}}
    for seed in range(20):
        for name, mapper in (("ours", ours), ("theirs", theirs)):
            np.random.seed(seed)
            mapped = mapper(json.loads(json.dumps(record)))
            results[name][tuple(mapped["image"].shape)] = mapped
    assert set(results["ours"]) == set(results["theirs"]) and len(results["ours"]) == 3
    for shape, mapped in results["ours"].items():
        expected = results["theirs"][shape]
        assert torch.equal(mapped["image"], expected["image"])
        assert torch.equal(
            mapped["instances"].gt_boxes.tensor, expected["instances"].gt_boxes.tensor
        )
        assert mapped["instances"].gt_classes.tolist() == [2]
