"""The class-loss slot: values by hand, the plain focal loss in its neutral setting, gradients."""

import math

import pytest
import torch
from torch import nn

from stageinteractor.criterion import (
    ClassLoss,
    Detached,
    DistanceWeight,
    EqualWeight,
    FocalLoss,
    MatchedPairs,
    Power,
    ScoreWeight,
    SoftTarget,
    TargetWeight,
)

LN2, LN3 = math.log(2.0), math.log(3.0)


def focal(iou: float = 0.0, alpha: float = 0.25) -> ClassLoss:
    return ClassLoss(SoftTarget(Power(iou)), DistanceWeight(alpha), ScoreWeight(1 - alpha))


def one_query(shift: float = 10 / 3) -> MatchedPairs:
    """One query that learns class 1 with an IoU of (10 - shift) / (10 + shift)."""
    expected = torch.tensor([[0.0, 0, 10, 10]], dtype=torch.float64)
    boxes = (expected + torch.tensor([shift, 0, shift, 0])).view(1, 1, 1, 4)
    zero = torch.zeros(1, 1, 1, dtype=torch.long)
    return MatchedPairs(
        zero[..., None], boxes, zero, [{"boxes": expected, "labels": torch.tensor([1])}]
    )


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        # IoU 1/2, p = 3/4 of the class: BCE = 1/2 ln(4/3) + 1/2 ln 4 = ln(4 / sqrt 3).
        # position-supervised with t = 1/2: 1/4 * (1/4)^2 * BCE
        (focal(1.0), (math.log(4) - LN3 / 2) / 64),
        # with t = 1/4: 1/4 * (1/2)^2 * (1/4 ln(4/3) + 3/4 ln 4)
        (focal(2.0), (math.log(4) - LN3 / 4) / 16),
        # plain: 1/4 * (1/4)^2 * ln(4/3)
        (focal(), math.log(4 / 3) / 64),
        # quality focal: (1/4)^2 * BCE
        (
            ClassLoss(SoftTarget(Power(1.0)), DistanceWeight(1.0), ScoreWeight(1.0)),
            (math.log(4) - LN3 / 2) / 16,
        ),
        # varifocal: t * BCE
        (
            ClassLoss(SoftTarget(Power(1.0)), TargetWeight(), ScoreWeight(0.75)),
            (math.log(4) - LN3 / 2) / 2,
        ),
        # MAL with gamma 2: t = 1/4, BCE alone
        (ClassLoss(SoftTarget(Power(2.0)), EqualWeight(), ScoreWeight(1.0)), math.log(4) - LN3 / 4),
        # IA-BCE with alpha 1/2: t = sqrt(3/4 * 1/2), BCE alone
        (
            ClassLoss(SoftTarget(Power(0.5, 0.5)), EqualWeight(), ScoreWeight(1.0)),
            math.log(4) - LN3 * math.sqrt(3 / 8),
        ),
    ],
)
def test_positives_worked_out_by_hand(loss: ClassLoss, expected: float):
    logits = torch.tensor([0.0, LN3, -LN3], dtype=torch.float64).view(1, 1, 1, 3)
    assert loss.entries(logits, one_query())[0, 0, 0, 1].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.75, 2.0), (1.0, 1.5)])
def test_negatives_worked_out_by_hand(alpha: float, gamma: float):
    logits = torch.tensor([0.0, 5.0, LN3], dtype=torch.float64).view(1, 1, 1, 3)
    loss = ClassLoss(SoftTarget(Power()), EqualWeight(), ScoreWeight(alpha, gamma))
    actual = loss.entries(logits, one_query())[0, 0, 0]
    # p = 1/2 and 3/4: alpha p^gamma * -ln(1 - p)
    assert actual[0].item() == pytest.approx(alpha * 0.5**gamma * LN2)
    assert actual[2].item() == pytest.approx(alpha * 0.75**gamma * math.log(4))


def random_case(classes: int = 4, stages: int = 3, queries: int = 12):
    generator = torch.Generator().manual_seed(0)
    targets = []
    for count in (3, 0):
        low = torch.rand(count, 2, generator=generator) * 20
        labels = torch.arange(count) % classes
        targets.append({"boxes": torch.cat([low, low + 20], 1), "labels": labels})
    low = torch.rand(stages, 2, queries, 2, generator=generator) * 20
    boxes = torch.cat([low, low + 15], -1)
    objects = torch.full((stages, 2, queries, 3), -1)
    objects[:, 0, 0] = torch.tensor([2, 0, -1])  # two classes
    objects[:, 0, 1:4, 0] = torch.arange(3)
    logits = torch.randn(stages, 2, queries, classes, generator=generator) * 3
    positives = MatchedPairs(objects, boxes, objects[..., 0], targets)
    dense = torch.zeros_like(logits)
    dense[:, 0, 0, 2] = dense[:, 0, 0, 0] = 1
    dense[:, 0, 1, 0] = dense[:, 0, 2, 1] = dense[:, 0, 3, 2] = 1
    return logits, positives, dense


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_neutral_setting_is_the_plain_focal_loss_bit_for_bit(dtype: torch.dtype):
    logits, positives, dense = random_case()
    expected_logits = logits.to(dtype).requires_grad_()
    actual_logits = logits.to(dtype).requires_grad_()
    expected = FocalLoss().entries(expected_logits, dense.to(dtype))
    actual = focal().entries(actual_logits, positives)
    assert torch.equal(actual, expected)
    expected.sum().backward()
    actual.sum().backward()
    torch.testing.assert_close(actual_logits.grad, expected_logits.grad, rtol=1e-5, atol=1e-8)


def test_sure_logits_keep_their_loss_and_its_gradient():
    # a logarithm of the rounded probability would be -inf, or 0, from about 17 on
    logits = torch.tensor([-20.0, -60.0, 60.0]).view(1, 1, 1, 3).requires_grad_()
    positives = one_query()
    positives.boxes = positives.boxes.float()
    loss = focal(1.0).entries(logits, positives)[0, 0, 0]
    # class 1 with t = 1/2: 1/4 (1/2)^2 * 60 / 2; class 2 is a negative: 3/4 * 60
    assert loss.tolist() == pytest.approx([0.0, 60 / 32, 45.0], abs=1e-20)
    assert loss[0].item() == pytest.approx(0.75 * math.exp(-60))  # p^2 * -ln(1 - p) = e^-60
    loss.sum().backward()
    assert logits.grad.flatten().tolist() == pytest.approx([0, -1 / 32, 0.75], abs=1e-20)


@pytest.mark.parametrize(
    "loss",
    [
        focal(2.0),
        ClassLoss(SoftTarget(Power(1.0)), DistanceWeight(1.0, 1.5), ScoreWeight(1.0, 1.5)),
        ClassLoss(SoftTarget(Power(1.0)), TargetWeight(), ScoreWeight(0.75)),
        ClassLoss(SoftTarget(Power(1.5)), EqualWeight(), ScoreWeight(1.0, 1.0)),
    ],
)
def test_gradient_is_the_numerical_one(loss: nn.Module):
    logits, positives, _ = random_case(queries=4)
    positives.boxes = positives.boxes.double()
    positives.padded = positives.padded._replace(boxes=positives.padded.boxes.double())
    logits = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss.entries(x, positives), (logits,))


def test_a_detached_weight_counts_and_has_no_gradient():
    logits = torch.tensor([0.5, 0.0, -1.0], dtype=torch.float64).view(1, 1, 1, 3)
    weight = ScoreWeight(0.75, 2.0)
    attached = ClassLoss(SoftTarget(Power()), EqualWeight(), weight)
    detached = ClassLoss(SoftTarget(Power()), EqualWeight(), Detached(weight))
    x, y = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    first, second = attached.entries(x, one_query()), detached.entries(y, one_query())
    assert torch.equal(first, second)
    second.sum().backward()
    p = logits.sigmoid()
    expected = 0.75 * p**2 * p  # the weight times d softplus(x) = p
    assert y.grad[..., [0, 2]].allclose(expected[..., [0, 2]])
    first.sum().backward()
    assert not x.grad[..., [0, 2]].allclose(expected[..., [0, 2]])


@pytest.mark.parametrize(("alpha", "gamma"), [(-0.1, 2.0), (0.25, 0.5), (0.25, math.inf)])
@pytest.mark.parametrize("weight", [DistanceWeight, ScoreWeight])
def test_settings_without_a_finite_gradient_are_refused(weight, alpha: float, gamma: float):
    with pytest.raises(ValueError, match="gamma 0 or at least 1"):
        weight(alpha, gamma)
