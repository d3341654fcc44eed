"""Accumulated batches train as one batch of all their images would."""

import logging

import pytest
import torch
from detectron2.utils.events import get_event_storage
from engine.gradient_cases import batch, build_model, cases, images_of
from torch import nn

from stageinteractor.criterion.distributed import StepCounts, step_average
from stageinteractor.engine.trainer import Trainer

DTYPE = torch.float64
UNEVEN = "more labels than matches on one rank, fewer on the other"


@pytest.fixture(scope="module")
def detector():
    model = build_model(DTYPE)
    images = images_of(DTYPE)
    return model, images, cases(model, images)


def step(model, batches, **settings):
    """Return the gradients and the losses of one optimizer step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    trainer = Trainer(model, batches, optimizer, accumulate=len(batches), **settings)
    trainer.train(0, 1)
    gradients = {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    losses = {k: v[0] for k, v in trainer.storage.latest().items() if "loss" in k}
    return gradients, losses, trainer


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("case", [UNEVEN, "one object in all", "no object"])
def test_gradients_and_losses_equal_those_of_the_large_batch(detector, case, size):
    model, images, targets = detector
    large = batch(images, targets[case][0], DTYPE)
    expected, expected_losses, _ = step(model, [large])
    parts = [large[start : start + size] for start in range(0, len(large), size)]
    gradients, losses, _ = step(model, parts)
    assert gradients.keys() == expected.keys()
    scale = max(x.norm() for x in expected.values())
    assert scale > 1e-3
    for name, gradient in gradients.items():
        limit = 1e-9 * expected[name].norm() + 1e-13 * scale
        assert (gradient - expected[name]).norm() < limit, name
    assert losses == pytest.approx(expected_losses, rel=1e-6)


class Counted(nn.Module):
    """loss = sum of w x over all images / their number; a buffer counts the forward passes."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(()))
        self.register_buffer("passes", torch.zeros(()))
        self.noise = []

    def forward(self, batch):
        self.passes += 1
        self.noise.append(torch.rand(()).item())
        get_event_storage().put_scalar("assigner/share", 1.0)
        counts = step_average(torch.tensor(float(len(batch))))
        return {"loss": torch.stack([self.w * item["x"] for item in batch]).sum() / counts}


def test_counting_changes_nothing_but_the_normaliser():
    model = Counted()
    batches = [[{"x": 1.0}, {"x": 2.0}, {"x": 6.0}], [{"x": 3.0}]]  # batches of 3 and 1 images
    gradients, losses, trainer = step(model, batches)
    assert gradients["w"].item() == pytest.approx(12 / 4)
    assert losses["total_loss"] == pytest.approx(12 / 4)
    assert model.passes.item() == 2
    assert model.noise[:2] == model.noise[2:]  # both passes draw the same numbers
    assert len(trainer.storage.history("assigner/share").values()) == 2


def test_other_models_are_averaged_with_one_warning(caplog):
    class Mean(Counted):
        def forward(self, batch):
            self.passes += 1
            return {"loss": (self.w * sum(item["x"] for item in batch) / len(batch)).sum()}

    model = Mean()
    batches = [[{"x": 1.0}, {"x": 2.0}, {"x": 6.0}], [{"x": 3.0}]] * 2
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with caplog.at_level(logging.WARNING):
        Trainer(model, batches, optimizer, accumulate=2).train(0, 2)
    assert model.w.grad.item() == pytest.approx((3 + 3) / 2)
    assert model.passes.item() == 4
    assert caplog.text.count("train.accumulate: the losses of a Mean") == 1


def test_batches_with_other_losses_are_refused():
    counts = StepCounts()
    with counts.counting():
        step_average(torch.ones(1))
    with counts.using(), pytest.raises(ValueError, match="1 normalisers"):
        step_average(torch.ones(1))
        step_average(torch.ones(1))
