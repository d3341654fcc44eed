"""Targets t(IoU, probability, rank), worked out by hand."""

import math

import pytest
import torch

from stageinteractor.criterion import (
    Exponential,
    MatchedPairs,
    Power,
    RankDecay,
    RescalePerGt,
    RescalePerImage,
    Sine,
    SoftTarget,
)

IOU = torch.tensor([0.0, 0.25, 0.5, 1.0])
SCORES = torch.tensor([0.81, 0.81, 0.16, 0.5])


@pytest.mark.parametrize(
    ("quality", "expected"),
    [
        (Power(0.0), [1, 1, 1, 1]),
        (Power(0.5), [0, 0.5, math.sqrt(0.5), 1]),
        (Power(1.0), [0, 0.25, 0.5, 1]),
        (Power(2.0), [0, 0.0625, 0.25, 1]),
        # (sqrt(e) - 1) / (e - 1) = 1 / (sqrt(e) + 1), and (e^1/4 - 1) / (e - 1)
        (Exponential(), [0, 0.284025 / 1.718282, 1 / (math.sqrt(math.e) + 1), 1]),
        # sin(pi / 8), sin(pi / 4)
        (Sine(), [0, 0.3826834, math.sqrt(0.5), 1]),
        # IA-BCE's with alpha = 1/2: sqrt(p IoU)
        (Power(0.5, 0.5), [0, 0.45, math.sqrt(0.08), math.sqrt(0.5)]),
    ],
)
def test_qualities_worked_out_by_hand(quality, expected):
    torch.testing.assert_close(quality(IOU, SCORES), torch.tensor(expected, dtype=torch.float32))


def positives_of(*shifts: float, objects: tuple[int, ...], stages: int = 1) -> MatchedPairs:
    """One image with two objects of 10 x 10, far apart, and queries shifted from their objects.

    A shift of s leaves an IoU of (10 - s) / (10 + s).
    """
    expected = torch.tensor([[0.0, 0, 10, 10], [100, 0, 110, 10]])
    boxes = expected[list(objects)].clone()
    boxes[:, ::2] += torch.tensor(shifts)[:, None]
    index = torch.tensor(objects).view(1, 1, -1, 1).expand(stages, 1, -1, 1)
    targets = [{"boxes": expected, "labels": torch.tensor([0, 1])}]
    none = torch.full((stages, 1, len(objects)), -1)
    return MatchedPairs(index, boxes.expand(stages, 1, -1, 4), none, targets)


def test_rescaling_per_image_keeps_the_ratios():
    # IoU 2/3 and 1/3 of object 0, 1/2 of object 1; squares 4/9, 1/9 and 1/4
    positives = positives_of(2, 5, 10 / 3, objects=(0, 0, 1))
    target = SoftTarget(Power(2.0), RescalePerImage("one"))
    actual = target(positives, positives.iou).flatten()
    torch.testing.assert_close(actual, torch.tensor([1.0, 0.25, 9 / 16]))


def test_best_iou_of_the_image_includes_unmatched_queries():
    # query 2 fits object 1 exactly, but learns object 0: the best IoU of the image is 1
    positives = positives_of(2, 5, 0, objects=(0, 0, 1))
    positives = MatchedPairs(
        torch.tensor([0, 0, -1]).view(1, 1, 3, 1),
        positives.boxes,
        positives.matches,
        [{"boxes": positives.padded.boxes[0], "labels": torch.tensor([0, 1])}],
    )
    target = SoftTarget(Power(2.0), RescalePerImage("best_iou"))
    actual = target(positives, positives.iou).flatten()[:2]
    torch.testing.assert_close(actual, torch.tensor([1.0, 0.25]))
    target = SoftTarget(Power(2.0), RescalePerGt("best_iou"))
    actual = target(positives, positives.iou).flatten()[:2]  # of object 0 it is 2/3
    torch.testing.assert_close(actual, torch.tensor([2 / 3, 2 / 3 * 0.25]))


def test_rescaling_per_gt_treats_objects_separately():
    positives = positives_of(0, 5, 10 / 3, objects=(0, 1, 1))  # 1; 1/3 and 1/2
    squares = SoftTarget(Power(2.0))(positives, positives.iou).flatten()
    torch.testing.assert_close(squares, torch.tensor([1.0, 1 / 9, 1 / 4]))
    per_image = SoftTarget(Power(2.0), RescalePerImage("one"))(positives, positives.iou).flatten()
    torch.testing.assert_close(per_image, squares)
    per_gt = SoftTarget(Power(2.0), RescalePerGt("best_iou"))(positives, positives.iou)
    torch.testing.assert_close(per_gt.flatten(), torch.tensor([1.0, 2 / 9, 1 / 2]))
    to_one = SoftTarget(Power(2.0), RescalePerGt("one"))(positives, positives.iou)
    torch.testing.assert_close(to_one.flatten(), torch.tensor([1.0, 4 / 9, 1.0]))


def test_ranks_are_turned_down_in_the_last_stages_only():
    positives = positives_of(0, 2, 5, objects=(0, 0, 0), stages=3)
    target = SoftTarget(Power(0.0), decay=RankDecay([0.5, 0.25]))
    actual = target(positives, positives.iou)[..., 0].squeeze(1)
    e = math.exp
    expected = [[1, 1, 1], [1, e(-2), e(-4)], [1, e(-4), e(-8)]]
    torch.testing.assert_close(actual, torch.tensor(expected))
    longer = SoftTarget(Power(0.0), decay=RankDecay([9.0, None, 0.5, 0.25]))
    torch.testing.assert_close(longer(positives, positives.iou)[..., 0].squeeze(1)[1:], actual[1:])
    plain = SoftTarget(Power(0.0), decay=RankDecay([]))(positives, positives.iou)
    assert (plain == 1).all()


def test_a_floor_is_the_least_target():
    positives = positives_of(0, 8, objects=(0, 0))  # 1 and 1/9
    actual = SoftTarget(Power(1.0), min_target=0.2)(positives, positives.iou).flatten()
    assert actual.tolist() == pytest.approx([1.0, 0.2])


def test_targets_have_no_gradient():
    positives = positives_of(2, objects=(0,))
    scores = torch.full_like(positives.iou, 0.5).requires_grad_()
    assert not SoftTarget(Power(1.0, 0.5))(positives, scores).requires_grad


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SoftTarget(Power(), min_target=1.5), "min_target"),
        (lambda: Power(-1.0), "exponents must be"),
        (lambda: RescalePerImage("best"), "'one' or 'best_iou'"),
        (lambda: RescalePerGt("two"), "'one' or 'best_iou'"),
        (lambda: RankDecay([0.0]), "every tau must be positive"),
    ],
)
def test_bad_settings_are_refused(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()
