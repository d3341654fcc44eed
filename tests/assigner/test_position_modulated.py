import math

import pytest
import torch
from hypothesis import given
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
    found = class_costs(PositionModulatedMatcher(), logits, boxes, targets)[0, 0, :, 0]
    assert found[0].item() == pytest.approx(-math.log(2) / 8, abs=1e-6)
    p = 0.5 * math.sqrt(0.5)
    wanted = 0.25 * (1 - p) ** 2 * -math.log(p) - 0.75 * p**2 * -math.log(1 - p)
    assert found[1].item() == pytest.approx(wanted, abs=1e-6)
    # without the square root p' = 1/4
    found = class_costs(PositionModulatedMatcher(exponent=1.0), logits, boxes, targets)[0, 0, 1, 0]
    wanted = 9 / 64 * math.log(4) - 3 / 64 * math.log(4 / 3)
    assert found.item() == pytest.approx(wanted, abs=1e-6)


def test_a_score_is_not_worth_a_match_where_the_box_does_not_fit():
    far = BOX + torch.tensor([60.0, 60, 60, 60])
    boxes = torch.stack([BOX + 1, far]).view(1, 1, 2, 4)
    targets = [{"boxes": BOX[None], "labels": torch.tensor([0])}]
    logits = torch.tensor([-1.0, 6.0]).view(1, 1, 2, 1)
    weights = dict(cost_class=12.0)
    plain = HungarianMatcher(**weights)(logits, boxes, targets, SIZES)
    modulated = PositionModulatedMatcher(**weights)(logits, boxes, targets, SIZES)
    assert plain.tolist() == [[[-1, 0]]]
    assert modulated.tolist() == [[[0, -1]]]


def test_objects_of_one_class_each_have_their_own_fit():
    # the released code would give both objects the fit of one of them
    other = BOX + torch.tensor([50.0, 0, 50, 0])
    boxes = torch.stack([BOX, other]).view(1, 1, 2, 4)
    targets = [{"boxes": torch.stack([BOX, other]), "labels": torch.tensor([0, 0])}]
    costs = class_costs(PositionModulatedMatcher(), torch.zeros(1, 1, 2, 1), boxes, targets)[0, 0]
    assert costs[0, 0] == costs[1, 1] and costs[0, 1] == costs[1, 0]
    assert costs[0, 0] < costs[0, 1]


def test_rescaling_gives_the_best_pair_of_an_image_the_plain_cost():
    boxes = torch.stack([BOX + 5, BOX + torch.tensor([10.0, 0, 10, 0])]).view(1, 1, 2, 4)
    targets = [{"boxes": BOX[None], "labels": torch.tensor([0])}]
    # overlap 25 of 175, hull 225: GIoU 1/7 - 50 / 225 = -5 / 63, s' = 29 / 63; the other has 1/2
    giou = torch.tensor([[-5 / 63], [0.0]])
    found = modulated(torch.full((2, 1), 0.5), giou, 0.5, largest=giou.max())
    assert found[1].item() == pytest.approx(0.5)
    assert found[0].item() == pytest.approx(0.5 * math.sqrt(58 / 63))
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


@given(cases())
def test_an_image_is_matched_alone_as_in_a_batch(case: Case):
    logits, boxes, targets, sizes = case.tensors()
    for rescale in (False, True):
        matcher = PositionModulatedMatcher(rescale=rescale)
        together = matcher(logits, boxes, targets, sizes)
        for image in range(len(targets)):
            own = slice(image, image + 1)
            alone = matcher(logits[:, own], boxes[:, own], targets[own], sizes[own])
            assert torch.equal(together[:, own], alone)


def test_predictions_that_are_no_numbers_are_refused():
    boxes = BOX.view(1, 1, 1, 4) * math.nan
    targets = [{"boxes": BOX[None], "labels": torch.tensor([0])}]
    with pytest.raises(FloatingPointError, match="not finite"):
        PositionModulatedMatcher()(torch.zeros(1, 1, 1, 1), boxes, targets, SIZES)


@pytest.mark.parametrize("exponent", [-0.5, math.inf, math.nan])
def test_bad_exponents_are_refused(exponent: float):
    with pytest.raises(ValueError, match="exponent must be finite"):
        PositionModulatedMatcher(exponent=exponent)
