"""Query weighting, with the numbers of its equations worked out by hand."""

import pytest
import torch

from stageinteractor.assigner import HungarianMatcher, PerStageAssigner
from stageinteractor.criterion import (
    ClassLoss,
    MatchedPairs,
    QueryBoxWeight,
    QueryWeight,
    QueryWeightTarget,
    ScoreWeight,
    SetCriterion,
)
from stageinteractor.criterion.class_loss.query_weighting import (
    negative_weight,
    positive_weight,
)

LOSS = ClassLoss(QueryWeightTarget(), QueryWeight(), ScoreWeight(1.0, 2.0))


def number(x: float) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64)


@pytest.mark.parametrize(
    ("score", "iou", "up", "down"),
    [
        (0.1, 0.1, 0.27, 0.41),
        (0.1, 0.9, 0.57, 0.05),
        (0.5, 0.5, 0.71, 0.59),
        (0.5, 0.9, 0.89, 0.10),
        (0.9, 0.1, 0.42, 0.80),
        (0.9, 0.9, 0.97, 0.13),
    ],
)
def test_weights_are_those_of_the_equations(score: float, iou: float, up: float, down: float):
    # 0.9 and 0.1: 0.9^0.4 = 0.9587, 0.1^0.6 = 0.2512; (0.2408 - 0.3333) 4.5 = -0.4162;
    # sigmoid = 0.3974, over sigmoid(3) = 0.9526: 0.4172. Down: (0.9587 - 0.3333) 4.5 = 2.8140:
    # 0.9434 / 0.9526 - 0.1915 = 0.7989
    assert positive_weight(number(score), number(iou)).item() == pytest.approx(up, abs=5e-3)
    assert negative_weight(number(score), number(iou)).item() == pytest.approx(down, abs=5.1e-3)


def one_query(iou: float) -> MatchedPairs:
    expected = torch.tensor([[0.0, 0, 10, 10]], dtype=torch.float64)
    boxes = torch.tensor([0.0, 0, 10 * iou, 10], dtype=torch.float64).view(1, 1, 1, 4)
    zero = torch.zeros(1, 1, 1, dtype=torch.long)
    return MatchedPairs(
        zero[..., None], boxes, zero, [{"boxes": expected, "labels": torch.tensor([0])}]
    )


@pytest.mark.parametrize(("logit", "iou"), [(0.0, 0.5), (-2.0, 0.2), (1.5, 0.95)])
def test_a_positive_is_pulled_up_and_pushed_down(logit: float, iou: float):
    x = number(logit).view(1, 1, 1, 1).requires_grad_()
    actual = LOSS.entries(x, one_query(iou)).sum()
    score = number(logit).sigmoid()
    up, down = positive_weight(score, number(iou)), negative_weight(score, number(iou))
    expected = -up * score.log() - down * (1 - score).log()
    torch.testing.assert_close(actual, expected)
    actual.backward()  # the weights have no gradient: p (w+ + w-) - w+
    torch.testing.assert_close(x.grad.squeeze(), score * (up + down) - up)


def test_box_losses_are_weighted_in_the_criterion():
    criterion = [
        SetCriterion(HungarianMatcher(), PerStageAssigner(), LOSS, box_weight=weight)
        for weight in (None, QueryBoxWeight())
    ]
    boxes = torch.tensor([[0.0, 0, 50, 50], [90, 40, 95, 45]]).double().view(1, 1, 2, 4)
    targets = [{"boxes": torch.tensor([[0.0, 0, 100, 50]]).double(), "labels": torch.tensor([1])}]
    sizes = torch.tensor([[50.0, 100.0]]).double()
    logits = torch.zeros(1, 1, 2, 3, dtype=torch.float64)
    plain, weighted = (each(logits, boxes, targets, sizes) for each in criterion)
    weight = positive_weight(number(0.5), number(0.5)).item()
    for name in ("bbox", "giou"):
        plainly = plain[f"loss_{name}_0"].item()
        assert plainly > 0
        assert weighted[f"loss_{name}_0"].item() == pytest.approx(weight * plainly)
    assert weighted["loss_class_0"] == plain["loss_class_0"]
