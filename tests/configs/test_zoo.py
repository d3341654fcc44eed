"""Every config of the package loads, and its model detects and learns in a small image."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import torch
from detectron2.structures import Boxes, Instances
from omegaconf import DictConfig, OmegaConf

from stageinteractor.cli.configs import PARAMETERS
from stageinteractor.config import apply_overrides, get_config, instantiate, load_config
from stageinteractor.errors import ConfigError
from stageinteractor.synthetic import untrained_model
from stageinteractor.zoo import list_configs

ZOO = Path(__file__).resolve().parents[2] / "projects/stageinteractor/configs"
FILES = sorted(str(path.relative_to(ZOO)) for path in ZOO.rglob("*.py"))
MODELS = [name for name in FILES if name.startswith("models/")]
HOSTED = [name for name in FILES if name.startswith("detrex/") or "deformable_detr" in name]
GENERATED = [name for name in FILES if "asag" in name and name not in MODELS]
# HOSTED: tests/integrations
RESCORED = [name for name in FILES if "duplicate_removal" in name and name not in HOSTED]
RECIPES = [name for name in FILES if name not in MODELS + HOSTED + GENERATED + RESCORED]
NODES = {"dataloader", "dataset", "lr_multiplier", "model", "optimizer", "train"}


SAME_MODEL = {  # recipes that differ from another in data and schedule only
    "adamixer_r50_mstrain_3x": "adamixer_r50_1x",
    "adamixer_r50_300_crop_3x": "adamixer_r50_300_crop_1x",
    "asag_a_r50_crop_3x": "asag_a_r50_1x",
    "asag_a_r50_300_crop_3x": "asag_a_r50_300_1x",
    "tree_crowns": "digits_in_photos",
    "stageinteractor_r50_mstrain_1x": "stageinteractor_r50_1x",
    "stageinteractor_r50_mstrain_3x": "stageinteractor_r50_1x",
    "stageinteractor_r50_300_crop_2x": "stageinteractor_r50_300_crop_1x",
    "stageinteractor_r50_300_crop_3x": "stageinteractor_r50_300_crop_1x",
}


def distinct(names: Iterable[str]) -> list[str]:
    return [name for name in names if Path(name).stem not in SAME_MODEL]


@pytest.fixture(autouse=True)
def on_the_cpu() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.device("cpu"):
        yield


def load(name: str) -> DictConfig:
    """A config without files of weights, and with 3 classes."""
    cfg = load_config(ZOO / name)
    if name in MODELS:
        cfg.dataset = {"num_classes": 80}
    overrides = ["dataset.num_classes=3"]
    if OmegaConf.select(cfg, "model.backbone.weights") is not None:
        overrides.append("model.backbone.weights=null")
    apply_overrides(cfg, overrides)
    return cfg


def test_zoo_is_not_empty():
    assert len(RECIPES) >= 10 and MODELS


@pytest.mark.parametrize("name", distinct(RECIPES))
def test_model_detects_and_learns_in_a_small_image(name: str):
    cfg = load(name)  # the third stage is the first one that reuses filters
    apply_overrides(cfg, ["model.queries.num_queries=10", "model.decoder.num_stages=3"])
    model = instantiate(cfg.model, "model").eval()
    assert len(model.decoder.stages) == cfg.model.decoder.num_stages
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    (output,) = model([{"image": image, "height": 128, "width": 64}])
    detections = output["instances"]
    assert detections.image_size == (128, 64)
    assert len(detections) == 10
    assert detections.pred_boxes.tensor.isfinite().all()
    assert ((detections.scores > 0) & (detections.scores < 1)).all()
    assert set(detections.pred_classes.tolist()) <= {0, 1, 2}
    objects = Instances((64, 64), gt_boxes=Boxes(torch.tensor([[4.0, 8.0, 50.0, 60.0]])))
    objects.gt_classes = torch.tensor([2])
    losses = model.train()([{"image": image, "instances": objects}])
    assert len(losses) == 3 * cfg.model.decoder.num_stages
    sum(losses.values()).backward()
    trained = [p for p in model.parameters() if p.requires_grad and p.grad is not None]
    assert all(p.grad.isfinite().all() for p in trained)
    assert any(p.grad.any() for p in model.decoder.stages[-1].parameters())


@pytest.mark.parametrize("name", distinct(GENERATED))
def test_model_finds_its_queries_and_learns_in_a_small_image(name: str):
    cfg = load(name)
    few = ("min_anchors=5", "max_anchors=10")
    apply_overrides(cfg, [f"model.queries.generator.probing.{limit}" for limit in few])
    if "denoising" in cfg.model.queries:
        apply_overrides(cfg, ["model.queries.denoising.num_queries=10"])
    model = instantiate(cfg.model, "model").eval()
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    (output,) = model([{"image": image, "height": 128, "width": 64}])
    detections = output["instances"]
    assert len(detections) > 0
    assert detections.pred_boxes.tensor.isfinite().all()
    objects = Instances((64, 64), gt_boxes=Boxes(torch.tensor([[4.0, 8.0, 50.0, 60.0]])))
    objects.gt_classes = torch.tensor([2])
    for warmup_steps in (1, 0):  # in the first epoch and later
        model.queries.generator.warmup_steps = warmup_steps
        losses = model.train()([{"image": image, "instances": objects}])
        # of the anchors, of the proposals and of every stage, and again with denoising queries
        kinds = 1 if model.queries.denoising is None else 2
        assert len(losses) == 3 + 3 * kinds * (1 + len(model.decoder.stages))
        sum(losses.values()).backward()
        trained = [p for p in model.parameters() if p.requires_grad and p.grad is not None]
        assert all(p.grad.isfinite().all() for p in trained)
        assert any(p.grad.any() for p in model.queries.generator.finer_head.parameters())


@pytest.mark.parametrize("name", RESCORED)
def test_duplicate_removal_learns_in_a_small_image(name: str):
    cfg = load(name)
    apply_overrides(cfg, ["model.queries.num_queries=10"])
    model = instantiate(cfg.model, "model").eval()
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    (output,) = model([{"image": image, "height": 128, "width": 64}])
    assert len(output["instances"]) == 10
    objects = Instances((64, 64), gt_boxes=Boxes(torch.tensor([[4.0, 8.0, 50.0, 60.0]])))
    objects.gt_classes = torch.tensor([2])
    losses = model.train()([{"image": image, "instances": objects}])
    frozen = "frozen" in name
    assert len(losses) == (1 if frozen else 3 * cfg.model.decoder.num_stages + 1)
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in model.suppressor.parameters())
    assert all((p.grad is None) == frozen for p in model.decoder.stages[-1].parameters())


@pytest.mark.parametrize("name", RECIPES + GENERATED + RESCORED)
def test_recipe_has_all_that_a_run_needs(name: str):
    cfg = load(name)
    assert set(cfg) == NODES
    OmegaConf.resolve(cfg)  # every interpolation leads somewhere
    instantiate(cfg.lr_multiplier, "lr_multiplier")
    for loader in (cfg.dataloader.train, cfg.dataloader.test):
        instantiate(loader.mapper, "mapper")
    assert cfg.dataloader.train.dataset.names == f"{cfg.dataset.name}_train"
    assert cfg.dataloader.test.dataset.names == f"{cfg.dataset.name}_val"
    assert cfg.dataloader.evaluator.dataset_name == f"{cfg.dataset.name}_val"


@pytest.mark.parametrize("name", MODELS)
def test_model_file_holds_nothing_but_the_model(name: str):
    assert set(load_config(ZOO / name)) == {"model"}


def test_learning_rates_are_scaled_relative_to_the_batch_of_the_recipe():
    for name in [*RECIPES, *GENERATED, *RESCORED]:
        cfg = load_config(ZOO / name)
        images = cfg.dataloader.train.total_batch_size * cfg.train.accumulate
        assert cfg.train.scale_lr.base_batch_size == images, name


def test_every_recipe_writes_into_its_own_folder():
    folders = [load(name).train.output_dir for name in RECIPES + GENERATED + RESCORED]
    assert len(set(folders)) == len(folders)


@pytest.mark.parametrize("name", [name for name in RECIPES if "/" not in name])
def test_coco_recipe_is_what_its_name_says(name: str):
    cfg = load(name)
    parts = Path(name).stem.split("_")
    weights = {
        "r50": "resnet50",
        "r101": "resnet101",
        "dx101": "resnext101_32x4d",
        "swin": "swin_s",
    }
    assert cfg.train.backbone_weights == f"datasets/weights/{weights[parts[1]]}.pth"
    depth = parts[1].lstrip("dxr")
    assert not depth.isdigit() or cfg.model.backbone.stages.depth == int(depth)
    assert cfg.train.output_dir == f"output/{Path(name).stem}"
    assert cfg.model.queries.num_queries == (300 if "300" in parts else 100)
    assert cfg.model.postprocessing.max_detections == cfg.model.queries.num_queries
    assert cfg.train.epochs == cfg.lr_multiplier.epochs == 12 * int(parts[-1].removesuffix("x"))
    chains = OmegaConf.to_yaml(cfg.dataloader.train.mapper.augmentations)
    assert ("480" in chains) is ("mstrain" in parts or "crop" in parts)
    assert ("RandomCrop" in chains) is ("crop" in parts)


def test_parameters_of_the_published_size():
    """137,277,256 in the published model with R50 and 100 queries, of which 328,960 have no effect.

    The frozen batch norms' 2,944 scales and shifts are buffers here: 2 x 64 in the stem, and in
    res2 2 x (64 + 64 + 256) in each of 3 blocks and 2 x 256 in the shortcut.
    """
    model = instantiate(load_config(ZOO / "stageinteractor_r50_1x.py").model, "model")
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == 137_277_256 - 328_960 - (2 * 64 + 3 * 2 * (64 + 64 + 256) + 2 * 256)


@pytest.mark.parametrize("name", SAME_MODEL)
def test_recipes_of_the_same_model(name: str):
    other = SAME_MODEL[name]
    assert load_config(name).model == load_config(other).model
    assert PARAMETERS[name] == PARAMETERS[other]


@pytest.mark.slow
@pytest.mark.parametrize("name", distinct(PARAMETERS))
def test_listed_parameters_are_those_of_the_model(name: str):
    model = untrained_model(load_config(name))
    count = sum(parameter.numel() for parameter in model.parameters())
    assert round(count / 1e6, 1) == PARAMETERS[name]


def test_all_configs_of_the_zoo_have_a_name():
    names = list_configs()
    recipes = {Path(name).stem for name in RECIPES + GENERATED + RESCORED}
    assert recipes <= set(names)
    assert {name for name in names if "dino" not in name and "detr" not in name} == {
        name for name in PARAMETERS if "detr" not in name
    }


def test_a_config_of_the_zoo_is_loaded_by_name():
    by_name, by_path = get_config("adamixer_r50_1x"), load_config(ZOO / "adamixer_r50_1x.py")
    assert by_name == by_path == load_config("adamixer_r50_1x")
    with pytest.raises(ConfigError, match="adamixer_r50_1x"):
        load_config("adamixer_r50")
