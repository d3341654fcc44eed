"""The recipes for detrex's models: what they say, and that their models have the assigner."""

import math
from pathlib import Path

import pytest
import torch
from detectron2.config import LazyConfig
from detectron2.structures import Boxes, Instances
from fvcore.common.param_scheduler import ParamScheduler
from integrations import detrex_host
from omegaconf import DictConfig, OmegaConf
from torch import nn

from stageinteractor.assigner import CrossStageAssigner, OneToOneAtLastStage, PerStageAssigner
from stageinteractor.config import apply_overrides, instantiate, load_config
from stageinteractor.criterion import RescalePerGt, RescalePerImage
from stageinteractor.integrations.detrex import CrossStageCriterion, load_project_config

pytestmark = pytest.mark.detrex
FOLDER = Path(__file__).resolve().parents[2] / "projects/stageinteractor/configs/detrex"
DEFORMABLE = "deformable_detr/configs/models/deformable_detr_r50.py"
SOURCES = {
    "deformable_detr_r50_12ep": DEFORMABLE,
    "deformable_detr_r50_box_refinement_12ep": DEFORMABLE,
    "deformable_detr_r50_two_stage_12ep": DEFORMABLE,
    "dino_r50_4scale_12ep": "dino/configs/models/dino_r50.py",
}
RECIPES = sorted(SOURCES)
STABLE = {
    "stable_cross_stage_dino_r50_4scale_12ep": OneToOneAtLastStage,
    "stable_deformable_detr_r50_two_stage_12ep": PerStageAssigner,
    "stable_dino_r50_4scale_12ep": PerStageAssigner,
    "stable_dino_r50_4scale_24ep": PerStageAssigner,
}
ALL = sorted([*RECIPES, *STABLE])


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> None:
    detrex_host.arrange()
    detrex_host.stay_on_cpu(monkeypatch)
    torch.manual_seed(0)


def ours(name: str, *overrides: str) -> DictConfig:
    """A recipe as our trainer sees it."""
    cfg = load_config(FOLDER / f"{name}.py")
    apply_overrides(cfg, ["train.device=cpu", *overrides])
    return cfg


def for_detrex(name: str) -> DictConfig:
    """The same recipe as detrex's trainer sees it."""
    cfg = LazyConfig.load(str(FOLDER / f"{name}.py"))
    cfg.train.device = "cpu"
    return cfg


def small(cfg: DictConfig) -> nn.Module:
    """One encoder layer, two decoder layers, 20 queries."""
    overrides = [
        "model.transformer.encoder.num_layers=1",
        "model.transformer.decoder.num_layers=2",
        "model.num_queries=20",
        "model.select_box_nums_for_evaluation=20",
    ]
    apply_overrides(cfg, overrides)
    return instantiate(cfg.model, "model")


def an_image() -> dict[str, object]:
    objects = Instances((96, 128), gt_boxes=Boxes(torch.tensor([[4.0, 8.0, 50.0, 60.0]])))
    objects.gt_classes = torch.tensor([2])
    image = torch.randint(0, 256, (3, 96, 128), dtype=torch.uint8)
    return {"image": image, "instances": objects, "height": 192, "width": 256}


@pytest.mark.parametrize("name", ALL)
def test_recipe_is_completed_for_our_trainer(name: str):
    cfg = ours(name)
    assert set(cfg) == {"dataloader", "dataset", "lr_multiplier", "model", "optimizer", "train"}
    OmegaConf.resolve(cfg)
    assert cfg.train.output_dir == f"output/detrex/{name}"
    assert cfg.train.clip_grad.params.max_norm == 0.1
    assert cfg.train.backbone_weights == "datasets/weights/resnet50.pth"
    assert cfg.dataloader.train.total_batch_size == 16
    assert cfg.dataset.name == "coco_2017"
    assert "RandomCrop" in OmegaConf.to_yaml(cfg.dataloader.train.mapper.augmentations)
    for loader in (cfg.dataloader.train, cfg.dataloader.test):
        assert instantiate(loader.mapper, "mapper").image_format == "RGB"


@pytest.mark.parametrize("name", ALL)
def test_recipe_is_detrexs_own_but_for_the_model(name: str):
    cfg = for_detrex(name)
    assert set(cfg) == {"dataloader", "lr_multiplier", "model", "optimizer", "train"}
    theirs = load_project_config(f"dino/configs/dino-resnet/dino_r50_4scale_{name[-4:]}.py")
    folder = cfg.dataloader.evaluator.pop("output_dir")
    assert folder == cfg.train.pop("output_dir") + ("/evaluation" if name in STABLE else "")
    theirs.dataloader.evaluator.pop("output_dir")
    theirs.train.pop("output_dir")
    theirs.train.device = "cpu"
    # for 24 epochs detrex also takes images without objects; here all recipes take the same
    theirs.dataloader.train.dataset.pop("filter_empty", None)
    if name in STABLE:  # AP after NMS beside the plain AP, by our evaluator
        assert cfg.dataloader.pop("evaluator").nms_threshold == 0.8
        theirs.dataloader.pop("evaluator")
    factor = cfg.optimizer.params.pop("lr_factor_func")
    assert [factor(part) for part in ("backbone.stem", "neck.convs")] == [0.1, 1]
    theirs.optimizer.params.pop("lr_factor_func")
    for node in ("dataloader", "lr_multiplier", "optimizer", "train"):
        assert cfg[node] == theirs[node], node


@pytest.mark.parametrize("name", RECIPES)
def test_model_is_detrexs_apart_from_the_assigner(name: str):
    plain = load_project_config(SOURCES[name]).model
    plain.device = "cpu"
    if "deformable" in name:
        plain.with_box_refine = "refinement" in name or "two_stage" in name
        plain.as_two_stage = "two_stage" in name
    expected = OmegaConf.to_container(plain, resolve=True)
    expected["criterion"].pop("_target_")
    for cfg in (ours(name), for_detrex(name)):
        actual = OmegaConf.to_container(cfg, resolve=True)["model"]
        added = {key: actual["criterion"].pop(key) for key in ("_target_", "base", "cross_stage")}
        assert actual == expected
        assert added["base"].rpartition(".")[2] in ("DeformableCriterion", "DINOCriterion")
        assert added["cross_stage"]["iou_threshold"] == 0.5


@pytest.mark.parametrize("name", STABLE)
@pytest.mark.parametrize("load", [ours, for_detrex])
def test_stable_recipe_has_every_part(name: str, load):
    model = load(name).model
    matcher, weights = model.criterion.matcher, model.criterion.weight_dict
    assert matcher._target_.endswith("PositionModulatedHostMatcher") and matcher.exponent == 0.5
    assert model.transformer.encoder.fusion._target_.endswith("DenseFusion")
    assert {weights[key] for key in weights if key.startswith("loss_class_")} <= {1.0, 6.0}
    assert weights.loss_class == weights.loss_class_enc == weights.loss_class_4 == 6.0
    assert weights.get("loss_class_dn", 1.0) == weights.get("loss_class_dn_4", 1.0) == 1.0
    target = model.criterion.class_loss.target
    together = STABLE[name] is OneToOneAtLastStage
    assert target.rescale._target_ is (RescalePerGt if together else RescalePerImage)
    assert ("decay" in target) == together
    assert model.criterion.cross_stage.normalizer == "host"
    assert isinstance(instantiate(model.criterion.assigner, "assigner"), STABLE[name])


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("load", [ours, for_detrex])
def test_model_has_the_assigner_trains_and_detects(name: str, load):
    cfg = load(name)
    apply_overrides(cfg, ["dataset.num_classes=3" if load is ours else "model.num_classes=3"])
    model = small(cfg)
    assert isinstance(model.criterion, CrossStageCriterion)
    assert isinstance(model.criterion.assigner, STABLE.get(name, CrossStageAssigner))
    assert model.num_classes == model.criterion.num_classes == 3
    assert model.criterion.num_stages == 2
    losses = model.train()([an_image(), an_image()])
    assert set(losses) <= set(model.criterion.weight_dict)
    assert {"loss_class", "loss_class_0", "loss_bbox", "loss_giou_0"} <= set(losses)
    sum(losses.values()).backward()
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    with torch.no_grad():
        (output,) = model.eval()([an_image()])
    actual = output["instances"]
    assert actual.image_size == (192, 256) and len(actual) == 20
    assert actual.pred_boxes.tensor.isfinite().all()


@pytest.mark.parametrize("name", ALL)
def test_both_trainers_have_the_same_learning_rates(name: str):
    mine, theirs = ours(name), for_detrex(name)
    model = small(mine)
    for cfg in (mine, theirs):
        cfg.optimizer.params.model = model
    one, two = (instantiate(cfg.optimizer, "optimizer") for cfg in (mine, theirs))
    assert type(one) is type(two)
    assert settings_of(one) == settings_of(two)
    a, b = (instantiate(cfg.lr_multiplier, "lr_multiplier") for cfg in (mine, theirs))
    assert shape_of(a) == shape_of(b)
    assert mine.train.max_iter == 7500 * epochs_of(name)
    epochs = epochs_of(name)
    drop = {12: 11, 24: 20}[epochs]
    shares = 0.0, (drop - 0.1) / epochs, (drop + 0.1) / epochs
    assert [a(share) for share in shares] == pytest.approx([1.0, 1.0, 0.1])


def epochs_of(name: str) -> int:
    return int(name.rpartition("_")[2].removesuffix("ep"))


def settings_of(optimizer: torch.optim.Optimizer) -> dict[int, tuple[float, ...]]:
    """Learning rate, weight decay and betas of every parameter."""
    return {
        id(parameter): (round(group["lr"], 12), group["weight_decay"], *group["betas"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def shape_of(schedule: ParamScheduler) -> list[float]:
    return [schedule(step / 1000) for step in range(1000)]


def test_weights_of_the_backbone_fit(tmp_path: Path):
    """What stageinteractor weights makes of torchvision's ResNet-50, here a random one."""
    import torchvision

    from stageinteractor.checkpoint.resnet_names import from_torchvision
    from stageinteractor.engine.weights import load_weights

    source = torchvision.models.resnet50(weights=None).state_dict()
    weights = {f"backbone.{from_torchvision(k)}": v for k, v in source.items()}
    torch.save(weights, tmp_path / "resnet50.pth")
    model = small(ours("deformable_detr_r50_12ep"))
    load_weights(model, tmp_path / "resnet50.pth")
    state = model.state_dict()
    expected = [key for key in state if key.startswith("backbone.")]
    assert expected and all(torch.equal(state[key], weights[key]) for key in expected)
    assert math.isclose(model.backbone.stem.conv1.norm.running_var.mean(), 1.0)
