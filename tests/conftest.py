"""Fixtures: a finished run of a tiny detector with random weights; tools as modules."""

import importlib
import importlib.util
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from detectron2.utils.logger import setup_logger
from PIL import Image, ImageFilter
from tally import counts
from torch import nn

os.environ.setdefault("STAGEINTERACTOR_CPU_MATMUL", "default")  # equal runs, on any machine
# a command keeps all freed memory; one that runs in a test process leaves its allocation alone
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "33554432")
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", "268435456")
os.environ.setdefault("MALLOC_TOP_PAD_", "67108864")
CORE = (
    "assigner",
    "criterion",
    "modeling/decoders",
    "modeling/mixing",
    "modeling/sampling/test_points.py",
    "modeling/sampling/test_embedding_bag.py",
    "golden",
    "reference",
    "configs",
    "e2e/test_overfit.py",
    "e2e/test_resume.py",
    "e2e/test_custom_dataset.py",
    "integrations/test_cross_stage_criterion.py",
    "integrations/test_transformers.py",
)
SCRIPTS = ("audit", "compare_detectron2", "image_steps")
TOOLS = Path(__file__).parents[1] / "tools"
CONFIG = Path(__file__).parents[1] / "projects/stageinteractor/configs/demo/digits_in_photos.py"
CATEGORIES = [{"id": 3, "name": "disc"}, {"id": 7, "name": "square"}, {"id": 40, "name": "bar"}]
SIZES = [(90, 70), (64, 80), (120, 60), (90, 70)]
TINY = [
    "dataset.name=tiny",
    "model.backbone.weights=null",
    "model.decoder.num_stages=2",
    "model.decoder.embed_dim=32",
    "model.decoder.feedforward_dim=32",
    "model.queries.num_queries=8",
    "dataloader.test.batch_size=2",
    "train.device=cpu",
]


@pytest.fixture(autouse=True)
def _fresh_loggers():
    """Remove the log handlers that a test has set up."""
    yield
    for name in ("detectron2", "fvcore", "stageinteractor"):
        log = logging.getLogger(name)
        for handler in list(log.handlers):
            log.removeHandler(handler)
            handler.close()
        log.propagate = True
    setup_logger.cache_clear()


@pytest.fixture(scope="session")
def load_tool() -> Callable[[str], ModuleType]:
    """A function that returns the module of a command, or of a script that stays in ``tools/``."""

    def load(name: str) -> ModuleType:
        if name not in SCRIPTS:
            return importlib.import_module(f"stageinteractor.cli.{name}")
        spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def _randomise(model: nn.Module) -> nn.Module:
    """Make scores and boxes differ from query to query and from image to image.

    The outputs of a fresh model do not depend on its image, because many weights are zero.
    """
    generator = torch.Generator().manual_seed(0)
    classes = len(CATEGORIES)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "backbone" in name:
                continue
            noise = torch.randn(parameter.shape, generator=generator)
            is_class = ("class_head" in name or "class_embed" in name) and len(noise) == classes
            if parameter.dim() == 1:
                parameter.copy_(0.0 * noise if is_class else parameter + 0.2 * noise)
                continue
            gain = 8.0 if is_class else 0.1 if "box_head" in name or "bbox_embed" in name else 1.0
            parameter.copy_(gain * noise / noise[0].numel() ** 0.5)
    return model


@pytest.fixture(scope="session")
def randomise():
    """The function that gives a detector random weights."""
    return _randomise


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory) -> Path:
    """A COCO-format set of four images of different sizes; ids have gaps."""
    folder = tmp_path_factory.mktemp("tiny_set")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    images = []
    for index, (width, height) in enumerate(SIZES):
        noise = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        noise.filter(ImageFilter.GaussianBlur(3)).save(folder / "images" / f"photo_{index}.png")
        name = f"photo_{index}.png"
        images.append({"id": 5 + 3 * index, "file_name": name, "width": width, "height": height})
    box = {"id": 1, "image_id": 5, "category_id": 7, "bbox": [10, 10, 30, 20]}
    content = {"images": images, "annotations": [box], "categories": CATEGORIES}
    (folder / "set.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="session")
def tiny_config(tiny_set):
    """The demo's config, made tiny, for the tiny set."""
    from stageinteractor.config import apply_overrides, load_config

    cfg = load_config(CONFIG)
    splits = [
        override
        for split in ("train", "val")
        for override in (
            f"dataset.{split}.json={tiny_set}/set.json",
            f"dataset.{split}.images={tiny_set}/images",
        )
    ]
    apply_overrides(cfg, TINY + splits)
    from detectron2.config import LazyCall
    from detectron2.data import transforms

    resize = LazyCall(transforms.ResizeShortestEdge)(short_edge_length=48, max_size=80)
    cfg.dataloader.test.mapper.augmentations = [resize]
    return cfg


@pytest.fixture(scope="session")
def tiny_run(tiny_config, tmp_path_factory) -> Path:
    """Folder of a run: config.yaml, as after training, and model_best.pth. Copy it to change it."""
    from stageinteractor.config import instantiate, save_config

    folder = tmp_path_factory.mktemp("tiny_run")
    cfg = tiny_config.copy()
    cfg.dataset.num_classes = len(CATEGORIES)
    cfg.dataset.class_names = [category["name"] for category in CATEGORIES]
    cfg.dataset.category_ids = [category["id"] for category in CATEGORIES]
    cfg.train.output_dir = str(folder)
    torch.manual_seed(0)
    model = _randomise(instantiate(cfg.model, "model"))
    torch.save({"model": model.state_dict(), "iteration": 7}, folder / "model_best.pth")
    save_config(cfg, folder / "config.yaml")
    return folder


def pytest_terminal_summary(terminalreporter):
    """List the faults that the tests tried and the code handled."""
    if counts:
        parts = [f"{number} x {what}" for what, number in sorted(counts.items())]
        terminalreporter.write_line(f"faults handled: {', '.join(parts)}")


def pytest_collection_modifyitems(items):
    """Mark the tests that carry most of the meaning, for `make test-core`."""
    here = Path(__file__).parent
    for item in items:
        if any(item.path.is_relative_to(here / part) for part in CORE):
            item.add_marker(pytest.mark.core)


def pytest_ignore_collect(collection_path, config):
    """Collect tests/faults, which takes many minutes, only if it is given: `make test-faults`."""
    faults = Path(__file__).parent / "faults"
    named = any(faults.name in argument for argument in config.args)
    return True if collection_path == faults and not named else None
