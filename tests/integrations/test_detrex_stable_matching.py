"""Stable matching and the assigner together on detrex's Deformable-DETR and DINO."""

import pytest
import torch
from detectron2.config import LazyCall, instantiate
from integrations import detrex_host
from integrations.detrex_cases import build_model, two_images

from stageinteractor import get_config
from stageinteractor.assigner import CrossStageAssigner, OneToOneAtLastStage, PerStageAssigner
from stageinteractor.config import apply_overrides, load_config, save_config
from stageinteractor.integrations.detrex import (
    load_project_config,
    set_class_weight,
    use_cross_stage,
    use_memory_fusion,
    use_position_modulated_cost,
)

pytestmark = pytest.mark.detrex
DEFORMABLE = "deformable_detr/configs/models/deformable_detr_r50.py"
MODELS = {
    "deformable_detr": (DEFORMABLE, []),
    "two_stage": (DEFORMABLE, ["model.with_box_refine=true", "model.as_two_stage=true"]),
    "dino": ("dino/configs/models/dino_r50.py", []),
}
models = pytest.mark.parametrize("name", MODELS)
LOSSES = get_config("common/class_loss.py")


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> None:
    detrex_host.arrange()
    detrex_host.stay_on_cpu(monkeypatch)


def small_config(name):
    path, more = MODELS[name]
    cfg = load_project_config(path)
    small = [
        "model.device=cpu",
        "model.num_queries=20",
        "model.transformer.encoder.num_layers=2",
        "model.transformer.decoder.num_layers=3",
    ]
    apply_overrides(cfg, [*small, *more])
    return cfg


def with_class_loss(name, loss, assigner=PerStageAssigner, **settings):
    cfg = small_config(name)
    node = LazyCall(assigner)(**settings)
    use_cross_stage(cfg.model.criterion, normalizer="host", assigner=node, class_loss=LOSSES[loss])
    return cfg


def train_one_step(cfg):
    model = build_model(cfg)
    torch.manual_seed(2)
    losses = model(two_images(96, 128))
    sum(losses.values()).backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {key: value.item() for key, value in losses.items()}, gradients


@models
def test_focal_loss_with_per_stage_labels_keeps_the_step(name):
    expected, expected_gradients = train_one_step(small_config(name))
    actual, gradients = train_one_step(with_class_loss(name, "focal"))
    assert list(actual) == list(expected)
    assert actual == pytest.approx(expected, rel=5e-6)
    assert gradients.keys() == expected_gradients.keys()
    largest = max(gradient.abs().max() for gradient in expected_gradients.values())
    for key, gradient in expected_gradients.items():
        assert torch.allclose(gradients[key], gradient, rtol=1e-3, atol=1e-6 * largest), key


@models
def test_position_supervised_loss_changes_class_losses_only(name):
    expected, _ = train_one_step(small_config(name))
    actual, gradients = train_one_step(with_class_loss(name, "position_supervised"))
    assert list(actual) == list(expected)
    changed = {key for key in expected if actual[key] != expected[key]}
    assert changed == {key for key in expected if key.startswith("loss_class")}
    assert all(gradient.isfinite().all() for gradient in gradients.values())


@models
def test_everything_together_makes_a_training_step(name):
    cfg = small_config(name)
    use_memory_fusion(cfg.model.transformer, "dense")
    use_position_modulated_cost(cfg.model.criterion.matcher)
    assigner = LazyCall(OneToOneAtLastStage)(
        assigner=LazyCall(CrossStageAssigner)(iou_threshold=0.0, keep_own_match=True)
    )
    loss = LOSSES.cross_stage_position_supervised
    use_cross_stage(cfg.model.criterion, normalizer="host", assigner=assigner, class_loss=loss)
    set_class_weight(cfg.model.criterion, 6.0)
    losses, gradients = train_one_step(cfg)
    plain, _ = train_one_step(small_config(name))
    assert losses.keys() == plain.keys()
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    assert any("memory_fusion" in key for key in gradients)


@models
def test_class_loss_and_assigner_can_be_overridden_and_saved(name, tmp_path):
    cfg = with_class_loss(name, "position_supervised", CrossStageAssigner, iou_threshold=0.25)
    overrides = [
        "model.criterion.class_loss.target.quality.iou=1.0",
        "model.criterion.assigner.iou_threshold=0.75",
        "model.criterion.cross_stage.normalizer=max",
    ]
    apply_overrides(cfg, overrides)
    save_config(cfg, tmp_path / "config.yaml")
    for each in (cfg, load_config(tmp_path / "config.yaml", trust=True)):
        criterion = instantiate(each.model.criterion)
        assert criterion.own_class_loss.loss.target.quality.iou == 1.0
        assert criterion.own_class_loss.name == "loss_class"
        assert criterion.assigner.iou_threshold == 0.75
        assert criterion.normalizer == "max"
