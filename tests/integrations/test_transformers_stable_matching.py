"""Our class loss and the position-modulated cost on detectors of transformers."""

import pytest
import torch
from integrations.hf_models import MODELS, deformable_detr
from integrations.test_host_class_loss import PLAIN, class_loss

from stageinteractor.assigner import CrossStageAssigner
from stageinteractor.integrations.host_matcher import PositionModulatedHostMatcher
from stageinteractor.integrations.transformers import use_cross_stage

SOFT = "position_supervised"


def train_one_step(build, change=None, **changes):
    torch.manual_seed(0)
    model = build(**changes).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    if change is not None:
        use_cross_stage(model, **change)
    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(2, 3, 64, 64, generator=generator)
    labels = [
        {
            "class_labels": torch.randint(3, (count,), generator=generator),
            "boxes": torch.rand(count, 4, generator=generator) * 0.3 + 0.3,
        }
        for count in (3, 1)
    ]
    output = model(pixel_values=images, labels=labels)
    output.loss.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {key: float(value.detach()) for key, value in output.loss_dict.items()}, gradients


@pytest.mark.parametrize("two_stage", [False, True])
def test_focal_loss_with_per_stage_labels_is_deformable_detrs(two_stage):
    changes = {"two_stage": two_stage, "two_stage_num_proposals": 12}
    expected, expected_gradients = train_one_step(deformable_detr, **changes)
    change = PLAIN | {"class_loss": class_loss("focal")}
    actual, gradients = train_one_step(deformable_detr, change, **changes)
    assert list(actual) == list(expected)
    assert actual == pytest.approx(expected, rel=5e-6)
    largest = max(gradient.abs().max() for gradient in expected_gradients.values())
    for key, gradient in expected_gradients.items():
        assert torch.allclose(gradients[key], gradient, rtol=1e-3, atol=1e-6 * largest), key


@pytest.mark.parametrize("name", MODELS)
def test_class_losses_and_no_others_change_with_a_class_loss(name):
    expected, _ = train_one_step(MODELS[name])
    change = PLAIN | {"class_loss": class_loss(SOFT)}
    actual, gradients = train_one_step(MODELS[name], change)
    assert list(actual) == list(expected)
    changed = {key for key in expected if actual[key] != expected[key]}
    assert changed == {key for key in expected if "loss_ce" in key or "loss_vfl" in key}
    assert all(gradient.isfinite().all() for gradient in gradients.values())


def test_training_step_with_cost_assigner_and_class_loss():
    change = {
        "assigner": CrossStageAssigner(0.0, keep_own_match=True),
        "normalizer": "host",
        "class_loss": class_loss("cross_stage_position_supervised"),
        "matcher": PositionModulatedHostMatcher(2.0, 5.0, 2.0),
    }
    losses, gradients = train_one_step(deformable_detr, change)
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    plain, _ = train_one_step(deformable_detr)
    assert losses.keys() == plain.keys() and losses["loss_ce"] != plain["loss_ce"]
