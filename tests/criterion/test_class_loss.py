import math

import pytest
import torch
from torchvision.ops import sigmoid_focal_loss

from stageinteractor.criterion import FocalLoss

LN3 = math.log(3.0)


@pytest.mark.parametrize(
    ("logit", "target", "expected"),
    [
        # p = 1/2: 0.25 * (1/2)^2 * ln 2 and 0.75 * (1/2)^2 * ln 2
        (0.0, 1.0, math.log(2) / 16),
        (0.0, 0.0, 3 * math.log(2) / 16),
        # p = 3/4: 0.25 * (1/4)^2 * -ln(3/4) and 0.75 * (3/4)^2 * -ln(1/4)
        (LN3, 1.0, math.log(4 / 3) / 64),
        (LN3, 0.0, 27 / 64 * math.log(4)),
    ],
)
def test_values_worked_out_by_hand(logit: float, target: float, expected: float):
    actual = FocalLoss().entries(torch.tensor([logit]), torch.tensor([target]))
    assert actual.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.6, 1.5)])
def test_equals_the_focal_loss_of_torchvision(alpha: float, gamma: float):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, generator=generator).double() * 3
    targets = torch.randint(2, logits.shape, generator=generator).double()
    actual = FocalLoss(alpha, gamma).entries(logits, targets)
    assert actual.shape == logits.shape
    torch.testing.assert_close(actual, sigmoid_focal_loss(logits, targets, alpha, gamma))


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_gradient_is_the_numerical_one(target: float):
    logits = torch.linspace(-5, 5, 11, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(FocalLoss().entries, (logits, torch.full_like(logits, target)))


def test_no_entries_have_no_loss():
    assert FocalLoss().entries(torch.zeros(2, 0, 3), torch.zeros(2, 0, 3)).shape == (2, 0, 3)


def test_shapes_that_differ_are_refused():
    with pytest.raises(RuntimeError, match="must match the size"):
        FocalLoss().entries(torch.zeros(2, 3), torch.zeros(2, 4))


@pytest.mark.parametrize(
    ("alpha", "gamma"), [(0.25, 0.5), (0.25, -1.0), (0.25, math.inf), (1.5, 2.0), (math.nan, 2.0)]
)
def test_wrong_parameters_are_refused(alpha: float, gamma: float):
    with pytest.raises(
        ValueError, match=r"alpha must lie in \[0, 1\] and gamma be 0 or at least 1"
    ):
        FocalLoss(alpha, gamma)
