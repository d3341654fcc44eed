"""What overlaps of boxes have to be, also of boxes without size, of huge and of tiny ones."""

import torch
from hypothesis import given
from strategies import BOXES, Case, cases
from torch import Tensor

from stageinteractor.assigner.boxes import (
    box_area,
    box_giou,
    box_intersection,
    box_iou,
    cxcywh_to_xyxy,
    xyxy_to_cxcywh,
)

SWAPPED = (2, 3, 0, 1)


def pairs(case: Case) -> tuple[Tensor, Tensor]:
    """Two sets of boxes (K, 4): predictions, and the same in another order."""
    _, boxes, _, _ = case.tensors()
    first = boxes.flatten(0, 2)
    return first, first[case.permutation(len(first))]


@given(cases())
def test_overlaps_are_bounded_and_symmetric(case: Case):
    first, second = pairs(case)
    iou, giou = box_iou(first, second), box_giou(first, second)
    assert ((iou >= 0) & (iou <= 1)).all()
    assert ((giou >= -1 - 1e-6) & (giou <= iou + 1e-6)).all()
    assert torch.equal(iou, box_iou(second, first))
    assert torch.equal(giou, box_giou(second, first))


@given(cases())
def test_swapped_corners_overlap_nothing(case: Case):
    first, second = pairs(case)
    empty = first[:, SWAPPED]
    empty = empty[(first[:, 2:] > first[:, :2]).any(dim=-1)]
    second = second[: len(empty)]
    assert (box_area(empty) == 0).all() and (box_iou(empty, second) == 0).all()
    assert torch.isfinite(box_giou(empty, second)).all()


@given(cases(kinds=["ordinary", "whole", "same", "outside", "huge", "pixel"]))
def test_a_box_overlaps_itself_wholly(case: Case):
    first, _ = pairs(case)
    first = first[box_area(first) > 1e-3]  # what half precision leaves of thin boxes
    assert (box_iou(first, first) == 1).all() and (box_giou(first, first) == 1).all()


@given(cases(kinds=["point", "line"]))
def test_boxes_without_size_overlap_nothing_not_even_themselves(case: Case):
    _, _, targets, _ = case.tensors()
    boxes = torch.cat([target["boxes"] for target in targets])
    assert (box_iou(boxes, boxes) == 0).all()
    assert torch.isfinite(box_giou(boxes, boxes)).all()


@given(cases())
def test_what_is_shared_is_no_more_than_either(case: Case):
    first, second = pairs(case)
    shared = box_intersection(first, second)
    assert (shared <= box_area(first)).all() and (shared <= box_area(second)).all()


@given(cases(dtypes=(torch.float32, torch.float64)))
def test_gradients_of_overlaps_are_finite(case: Case):
    first, second = (boxes.requires_grad_() for boxes in pairs(case))
    (box_giou(first, second).sum() + box_iou(first, second).sum()).backward()
    assert torch.isfinite(first.grad).all()


@given(cases(kinds=BOXES, dtypes=(torch.float32, torch.float64)))
def test_centre_and_size_there_and_back(case: Case):
    boxes, _ = pairs(case)
    back = cxcywh_to_xyxy(xyxy_to_cxcywh(boxes))
    size = boxes.abs().amax(dim=-1, keepdim=True)
    assert ((back - boxes).abs() <= 4 * torch.finfo(boxes.dtype).eps * size).all()
