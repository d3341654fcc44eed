import math

import pytest
import torch
from hypothesis import given
from reference.losses import iou
from strategies import Case, cases

from stageinteractor.assigner import HungarianMatcher, PositionModulatedMatcher
from stageinteractor.assigner.position_modulated import modulated
from stageinteractor.assigner.targets import pad_targets

SIZES = torch.tensor([[100.0, 100.0]])
BOX = torch.tensor([0.0, 0, 10, 10])


def class_costs(matcher: HungarianMatcher, logits, boxes, targets) -> torch.Tensor:
    matcher.cost_class, matcher.cost_bbox, matcher.cost_giou = 1.0, 0.0, 0.0
    return matcher.costs(logits, boxes, pad_targets(targets, like=boxes), SIZES)


def test_costs_worked_out_by_hand():
    # boxes of 10 x 10 side by side: IoU 0, hull 20 x 10 = union, GIoU 0, s' = 1/2, sqrt(s') = 0.707
    boxes = torch.stack([BOX, BOX + torch.tensor([10.0, 0, 10, 0])]).view(1, 1, 2, 4)
    targets = [{"boxes": BOX[None], "labels": torch.tensor([0])}]
    logits = torch.zeros(1, 1, 2, 1)  # p = 1/2: p' = 1/2 for query 0, 0.3536 for query 1
    actual = class_costs(PositionModulatedMatcher(), logits, boxes, targets)[0, 0, :, 0]
    assert actual[0].item() == pytest.approx(-math.log(2) / 8, abs=1e-6)
    p = 0.5 * math.sqrt(0.5)
    expected = 0.25 * (1 - p) ** 2 * -math.log(p) - 0.75 * p**2 * -math.log(1 - p)
    assert actual[1].item() == pytest.approx(expected, abs=1e-6)
    # without the square root p' = 1/4
    actual = class_costs(PositionModulatedMatcher(exponent=1.0), logits, boxes, targets)[0, 0, 1, 0]
    expected = 9 / 64 * math.log(4) - 3 / 64 * math.log(4 / 3)
    assert actual.item() == pytest.approx(expected, abs=1e-6)


def test_rescaling_gives_an_images_best_pair_the_plain_cost():
    boxes = torch.stack([BOX + 5, BOX + torch.tensor([10.0, 0, 10, 0])]).view(1, 1, 2, 4)
    targets = [{"boxes": BOX[None], "labels": torch.tensor([0])}]
    # overlap 25 of 175, hull 225: GIoU 1/7 - 50 / 225 = -5 / 63, s' = 29 / 63; the other has 1/2
    giou = torch.tensor([[-5 / 63], [0.0]])
    actual = modulated(torch.full((2, 1), 0.5), giou, 0.5, largest=giou.max())
    assert actual[1].item() == pytest.approx(0.5)
    assert actual[0].item() == pytest.approx(0.5 * math.sqrt(58 / 63))
    costs = class_costs(
        PositionModulatedMatcher(rescale=True), torch.zeros(1, 1, 2, 1), boxes, targets
    )
    assert costs[0, 0, 1, 0].item() == pytest.approx(-math.log(2) / 8, abs=1e-6)


@given(cases())
def test_exponent_0_is_the_plain_cost_bit_for_bit(case: Case):
    logits, boxes, targets, sizes = case.tensors()
    arguments = logits.to(case.wide), boxes.to(case.wide)
    padded = pad_targets(targets, like=arguments[1])
    plain = HungarianMatcher().costs(*arguments, padded, sizes)
    for rescale in (False, True):
        matcher = PositionModulatedMatcher(exponent=0.0, rescale=rescale)
        assert torch.equal(matcher.costs(*arguments, padded, sizes), plain)


def test_predictions_that_are_no_numbers_are_refused():
    boxes = BOX.view(1, 1, 1, 4) * math.nan
    targets = [{"boxes": BOX[None], "labels": torch.tensor([0])}]
    with pytest.raises(FloatingPointError, match="not finite"):
        PositionModulatedMatcher()(torch.zeros(1, 1, 1, 1), boxes, targets, SIZES)


@pytest.mark.parametrize("exponent", [-0.5, math.inf, math.nan])
def test_bad_exponents_are_refused(exponent: float):
    with pytest.raises(ValueError, match="exponent must be finite"):
        PositionModulatedMatcher(exponent=exponent)


def slow_giou(a, b) -> float:
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = a.tolist(), b.tolist()
    hull = (max(ax1, bx1) - min(ax0, bx0)) * (max(ay1, by1) - min(ay0, by0))
    areas = (ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0)
    overlap = iou(a, b).item()
    union = areas / (1 + overlap)
    return overlap - (hull - union) / hull


def slow_costs(rule, logits, boxes, targets, sizes):
    """Costs [stage][image] of loops: tensors (N, T). rule: the matcher's settings."""
    result = []
    for i in range(len(logits)):
        row = []
        for b, target in enumerate(targets):
            height, width = sizes[b].tolist()
            scale = torch.tensor([width, height] * 2)
            giou = [[slow_giou(box, g) for g in target["boxes"]] for box in boxes[i, b]]
            largest = max([(x + 1) / 2 for each in giou for x in each], default=1.0)
            by = max(1.0, 1 / (largest + 1e-8)) if rule["rescale"] else 1.0
            table = torch.zeros(len(giou), len(target["boxes"]), dtype=torch.float64)
            for q, each in enumerate(giou):
                for t, fit in enumerate(each):
                    p = logits[i, b, q, target["labels"][t]].sigmoid().item()
                    p *= ((fit + 1) / 2 * by) ** rule["exponent"]
                    a, g = rule["alpha"], rule["gamma"]
                    focal = -a * (1 - p) ** g * math.log(p + 1e-12)
                    focal += (1 - a) * p**g * math.log(1 - p + 1e-12)
                    apart = ((boxes[i, b, q] - target["boxes"][t]).abs() / scale).sum().item()
                    table[q, t] = (
                        rule["cost_class"] * focal
                        + rule["cost_bbox"] * apart
                        - rule["cost_giou"] * fit
                    )
            row.append(table)
        result.append(row)
    return result


RULE = dict(cost_class=2.0, cost_bbox=5.0, cost_giou=2.0, alpha=0.25, gamma=2.0)
RULES = [
    RULE | dict(exponent=0.5, rescale=False),
    RULE | dict(exponent=0.5, rescale=True),
    dict(cost_class=3.0, cost_bbox=1.0, cost_giou=0.5, alpha=0.4, gamma=1.0)
    | dict(exponent=2.0, rescale=True),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_costs_of_all_stages_equal_the_slow_reference(rule, seed: int):
    generator = torch.Generator().manual_seed(seed)
    counts = (3, 0, 5)  # image 0 has padding
    logits = torch.randn(3, 3, 6, 4, generator=generator).double()
    low = torch.rand(3, 3, 6, 2, generator=generator).double() * 30
    boxes = torch.cat([low, low + 5 + low.flip(-1)], -1)
    targets = []
    for count in counts:
        # far from the predictions, which lie near the zeros of the padding
        low = 60 + torch.rand(count, 2, generator=generator).double() * 20
        labels = torch.randint(4, (count,), generator=generator)
        targets.append({"boxes": torch.cat([low, low + 15], -1), "labels": labels})
    sizes = torch.tensor([[100.0, 120.0], [90.0, 100.0], [110.0, 95.0]]).double()
    matcher = PositionModulatedMatcher(**rule)
    actual = matcher.costs(logits, boxes, pad_targets(targets, like=boxes), sizes)
    expected = slow_costs(rule, logits, boxes, targets, sizes)
    for i, images in enumerate(expected):
        for b, table in enumerate(images):
            torch.testing.assert_close(actual[i, b, :, : counts[b]], table, rtol=1e-6, atol=1e-7)


def test_a_giou_beyond_minus_one_by_rounding_is_still_a_cost():
    giou = torch.tensor([-1.0 - 1e-6, -1.0, 1.0 + 1e-6])
    actual = modulated(torch.full((3,), 0.5), giou, 0.5)
    assert actual.tolist() == pytest.approx([0, 0, 0.5], abs=1e-6)
