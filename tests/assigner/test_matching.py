import math

import pytest
import torch

from stageinteractor.assigner import CopiesMatcher, HungarianMatcher, QualityTopKMatcher
from stageinteractor.assigner.targets import pad_targets

LN2 = math.log(2.0)
SIZES = torch.tensor([[50.0, 100.0]])  # height 50, width 100


def random_boxes(generator: torch.Generator, *shape: int) -> torch.Tensor:
    low = torch.rand(*shape, 2, generator=generator, dtype=torch.float64) * 60
    size = torch.rand(*shape, 2, generator=generator, dtype=torch.float64) * 40 + 2
    return torch.cat([low, low + size], dim=-1)


def random_case(seed: int, stages: int, queries: int, classes: int, counts: tuple[int, ...]):
    generator = torch.Generator().manual_seed(seed)
    images = len(counts)
    logits = torch.randn(stages, images, queries, classes, generator=generator).double() * 2
    boxes = random_boxes(generator, stages, images, queries)
    targets = [
        {
            "boxes": random_boxes(generator, count),
            "labels": torch.randint(classes, (count,), generator=generator),
        }
        for count in counts
    ]
    sizes = torch.rand(images, 2, generator=generator, dtype=torch.float64) * 60 + 50
    return logits, boxes, targets, sizes


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        # logit 0: p = 1/2, 0.25 * 1/4 * ln 2 - 0.75 * 1/4 * ln 2 = -ln 2 / 8
        ((1.0, 0.0, 0.0), -LN2 / 8),
        # |0 - 50| / 100 + 0 + |50 - 100| / 100 + |50 - 40| / 50 = 0.5 + 0.5 + 0.2
        ((0.0, 1.0, 0.0), 1.2),
        # overlap 0, areas 2500 and 2000, enclosing 100 * 50: -(0 - (5000 - 4500) / 5000)
        ((0.0, 0.0, 1.0), 0.1),
        ((2.0, 5.0, 2.0), 2 * -LN2 / 8 + 5 * 1.2 + 2 * 0.1),
    ],
)
def test_costs_worked_out_by_hand(weights: tuple[float, float, float], expected: float):
    boxes = torch.tensor([0.0, 0, 50, 50]).view(1, 1, 1, 4)
    targets = [{"boxes": torch.tensor([[50.0, 0, 100, 40]]), "labels": torch.tensor([1])}]
    logits = torch.tensor([7.0, 0.0, -7.0]).view(1, 1, 1, 3)  # only class 1 counts
    matcher = HungarianMatcher(*weights)
    costs = matcher.costs(logits, boxes, pad_targets(targets, like=boxes), SIZES)
    assert costs.shape == (1, 1, 1, 1)
    assert costs.item() == pytest.approx(expected, abs=1e-6)


def test_alpha_and_gamma_enter_the_class_cost():
    # p = 3/4, alpha = 1/2, gamma = 1: 1/2 * 1/4 * ln(4/3) - 1/2 * 3/4 * ln 4
    boxes = torch.tensor([0.0, 0, 50, 50]).view(1, 1, 1, 4)
    targets = [{"boxes": boxes[0, 0], "labels": torch.tensor([0])}]
    logits = torch.tensor(math.log(3.0)).view(1, 1, 1, 1)
    matcher = HungarianMatcher(1.0, 0.0, 0.0, alpha=0.5, gamma=1.0)
    costs = matcher.costs(logits, boxes, pad_targets(targets, like=boxes), SIZES)
    expected = math.log(4 / 3) / 8 - 3 / 8 * math.log(4)
    assert costs.item() == pytest.approx(expected, abs=1e-6)


def test_integer_sizes_are_accepted():
    logits, boxes, targets, _ = random_case(1, 2, 5, 3, (3,))
    actual = HungarianMatcher()(logits, boxes, targets, torch.tensor([[80, 90]]))
    expected = HungarianMatcher()(logits, boxes, targets, torch.tensor([[80.0, 90.0]]))
    assert torch.equal(actual, expected)


def test_matching_leaves_no_graph():
    logits, boxes, targets, sizes = random_case(2, 1, 4, 2, (2,))
    matches = HungarianMatcher()(logits.requires_grad_(), boxes.requires_grad_(), targets, sizes)
    assert not matches.requires_grad


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_costs_that_are_not_finite_name_stage_and_image(value: float):
    logits, boxes, targets, sizes = random_case(0, 3, 4, 2, (2, 2))
    boxes[2, 1, 0, 0] = value
    with pytest.raises(FloatingPointError, match="stage 2, image 1 of the batch are not finite"):
        HungarianMatcher()(logits, boxes, targets, sizes)


@pytest.mark.parametrize(
    "weights",
    [(-1.0, 5.0, 2.0), (2.0, 5.0, -0.1), (0.0, 0.0, 0.0), (math.nan, 5.0, 2.0), (2.0, math.inf, 2)],
)
def test_wrong_weights_are_refused(weights: tuple[float, float, float]):
    with pytest.raises(ValueError, match="must be finite, not negative and not all zero"):
        HungarianMatcher(*weights)


def test_boxes_that_do_not_fit_the_logits_are_refused():
    logits, boxes, targets, sizes = random_case(0, 2, 4, 3, (2,))
    message = r"logits \(S, B, N, C\).*got \(2, 1, 4, 3\) and \(2, 1, 3, 4\)"
    with pytest.raises(ValueError, match=message):
        HungarianMatcher()(logits, boxes[:, :, :3], targets, sizes)
    with pytest.raises(ValueError, match=r"got \(1, 4, 3\) and \(1, 4, 4\)"):
        HungarianMatcher()(logits[0], boxes[0], targets, sizes)


def test_a_wrong_number_of_targets_or_sizes_is_refused():
    logits, boxes, targets, sizes = random_case(0, 2, 4, 3, (2, 1))
    with pytest.raises(ValueError, match=r"expected 2 targets .*got 1 and \(2, 2\)"):
        HungarianMatcher()(logits, boxes, targets[:1], sizes)
    with pytest.raises(ValueError, match=r"image sizes \(2, 2\), got 2 and \(1, 2\)"):
        HungarianMatcher()(logits, boxes, targets, sizes[:1])


@pytest.mark.parametrize("matcher", [HungarianMatcher(), CopiesMatcher(), QualityTopKMatcher()])
@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_is_no_class_is_refused(matcher, label):
    logits, boxes, targets, sizes = random_case(0, 2, 4, 3, (1, 2))
    targets[1]["labels"] = torch.tensor([2, label])
    message = f"target of image 1: box 1 has the label {label}, .* 3 classes are 0 to 2"
    with pytest.raises(ValueError, match=message):
        matcher(logits, boxes, targets, sizes)
