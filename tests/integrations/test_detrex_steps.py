"""A training step of Deformable-DETR and of DINO, loss by loss and bit by bit."""

import pytest
import torch
from integrations import detrex_host
from integrations.checks import (
    assert_all_equal,
    assert_only_class_losses_changed,
    assigned,
    expected_class_losses,
    pairs_of,
)
from integrations.detrex_cases import build_model, two_images
from integrations.reference import Rule, statistics

from stageinteractor.config import apply_overrides
from stageinteractor.integrations.detrex import (
    load_project_config,
    use_cross_stage,
)

pytestmark = pytest.mark.detrex


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> None:
    detrex_host.arrange()
    detrex_host.stay_on_cpu(monkeypatch)


MODELS = {
    "deformable_detr": "deformable_detr/configs/models/deformable_detr_r50.py",
    "dino": "dino/configs/models/dino_r50.py",
}
models = pytest.mark.parametrize("path", MODELS.values(), ids=MODELS)
SMALL = [
    "model.device=cpu",
    "model.num_queries=30",
    "model.transformer.encoder.num_layers=1",
    "model.transformer.decoder.num_layers=3",
]


def small_config(path, *overrides):
    cfg = load_project_config(path)
    apply_overrides(cfg, [*SMALL, *overrides])
    return cfg


def with_assigner(cfg, **settings):
    use_cross_stage(cfg.model.criterion, **settings)
    return cfg


def train_one_step(model):
    """The losses, the gradients, and what the criterion was called with."""
    seen = []
    model.criterion.register_forward_pre_hook(lambda _, arguments: seen.append(arguments))
    torch.manual_seed(2)
    losses = model(two_images(128, 160))
    sum(losses.values()).backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return losses, gradients, seen[0]


@pytest.fixture(scope="module")
def plain_steps():
    """One step of every plain model, made when it is first asked for."""
    made = {}

    def step(path):
        if path not in made:
            made[path] = train_one_step(build_model(small_config(path)))
        return made[path]

    return step


@models
def test_a_step_of_a_model_in_the_neutral_setting_changes_no_bit(path, plain_steps):
    losses, gradients, _ = plain_steps(path)
    cfg = with_assigner(small_config(path), scope=(0, 0), keep_own_match=True, normalizer="host")
    actual = train_one_step(build_model(cfg))
    assert_all_equal(actual[0], losses)
    assert_all_equal(actual[1], gradients)


@models
@pytest.mark.parametrize("threshold", [0.5, 0.0])
def test_a_step_of_a_model_has_the_class_losses_of_the_reference(path, threshold, plain_steps):
    plain, plain_gradients, _ = plain_steps(path)
    model = build_model(with_assigner(small_config(path), iou_threshold=threshold))
    losses, gradients, (outputs, targets, *_) = train_one_step(model)
    rule = Rule(threshold)
    expected = expected_class_losses(model.criterion.criterion, outputs, targets, rule, "max")
    assert model.criterion.weight_dict["loss_class"] == 1.0
    assert_only_class_losses_changed(losses, plain, expected)
    assert any(plain[key].item() != pytest.approx(expected[key].item()) for key in expected)
    assert set(gradients) == set(plain_gradients)
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    if threshold == 0.0:  # else all that happens may be that per-stage matches are dropped
        assert labels_added(model.criterion.criterion, outputs, targets, rule) > 0


def labels_added(host, outputs, targets, rule):
    pairs = pairs_of(host, outputs, targets)
    actual = assigned(host, outputs, targets, rule)
    return sum(statistics(actual, pairs, targets)["labels_added"])
