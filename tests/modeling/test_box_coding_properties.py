"""What the coding of boxes has to be, for boxes of any place, size and form."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import Case, cases
from torch import Tensor

from stageinteractor.modeling.box_coding import (
    box_sizes,
    refine_boxes,
    refine_boxes_by_scale,
    xyxy_to_xyzr,
    xyzr_to_xyxy,
)
from stageinteractor.modeling.queries import LearnedQueries

FULL = (torch.float32, torch.float64)
WITH_SIZE = ["ordinary", "whole", "same", "outside", "huge", "tiny", "pixel"]

centers = st.floats(-1e8, 1e8, width=32)
coded = st.lists(  # sizes from 1e-6 to 1e8 pixels, sides up to 1 to 1000
    st.tuples(centers, centers, st.floats(-20, 27, width=32), st.floats(-10, 10, width=32)),
    min_size=1,
    max_size=8,
).map(torch.tensor)
deltas = st.lists(st.floats(-8, 8, width=32), min_size=4, max_size=4).map(torch.tensor)


def boxes_of(case: Case) -> Tensor:
    return case.tensors()[1].flatten(0, 2)


@given(cases(kinds=WITH_SIZE, dtypes=FULL))
def test_corners_there_and_back(case: Case):
    boxes = boxes_of(case)
    # a box that is added to and taken from a coordinate keeps only so much of its size
    boxes = boxes[((boxes[:, 2:] - boxes[:, :2]) > 0).all(dim=-1)]
    back = xyzr_to_xyxy(xyxy_to_xyzr(boxes))
    error = 32 * torch.finfo(boxes.dtype).eps * boxes.abs().amax(dim=-1, keepdim=True)
    assert ((back - boxes).abs() <= error).all()


@given(coded)
def test_scale_and_ratio_there_and_back(boxes_xyzr: Tensor):
    boxes = boxes_xyzr.double()
    boxes[:, :2] /= 1e6  # near the origin: the corners still know sizes of 1e-6
    torch.testing.assert_close(xyxy_to_xyzr(xyzr_to_xyxy(boxes)), boxes, rtol=1e-5, atol=1e-4)


@given(coded)
def test_scale_is_of_the_area_and_ratio_of_height_to_width(boxes_xyzr: Tensor):
    boxes = boxes_xyzr.double()
    width, height = box_sizes(boxes).unbind(-1)
    torch.testing.assert_close((width * height).sqrt().log2(), boxes[:, 2])
    torch.testing.assert_close((height / width).log2(), boxes[:, 3], rtol=1e-6, atol=1e-9)


@given(coded)
def test_no_refinement_moves_nothing(boxes_xyzr: Tensor):
    for refine in (refine_boxes, refine_boxes_by_scale):
        assert torch.equal(refine(boxes_xyzr, torch.zeros_like(boxes_xyzr)), boxes_xyzr)


@given(coded, deltas)
def test_a_refinement_moves_by_parts_of_the_size(boxes_xyzr: Tensor, delta: Tensor):
    boxes = boxes_xyzr.double()
    moved = refine_boxes(boxes, delta.double().expand_as(boxes))
    steps = (moved[:, :2] - boxes[:, :2]) / box_sizes(boxes)
    possible = 1e-15 * boxes[:, :2].abs() / box_sizes(boxes) + 1e-9
    assert ((steps - delta[:2]).abs() <= possible).all()
    torch.testing.assert_close(moved[:, 2:] - boxes[:, 2:], delta[2:].double().expand_as(steps))


@given(coded, deltas)
def test_both_refinements_are_one_where_boxes_are_square(boxes_xyzr: Tensor, delta: Tensor):
    boxes = boxes_xyzr.double()
    boxes[:, 3] = 0
    moves = delta.double().expand_as(boxes)
    torch.testing.assert_close(refine_boxes(boxes, moves), refine_boxes_by_scale(boxes, moves))


@given(coded, deltas)
def test_six_refinements_and_their_gradients_are_finite(boxes_xyzr: Tensor, delta: Tensor):
    boxes = start = boxes_xyzr.requires_grad_()
    delta = (delta / 2).requires_grad_()
    for _ in range(6):
        boxes = refine_boxes(boxes, delta.expand_as(boxes))
    corners = xyzr_to_xyxy(boxes)
    (corners / 1e8).square().sum().backward()
    assert torch.isfinite(corners).all()
    assert torch.isfinite(start.grad).all() and torch.isfinite(delta.grad).all()


@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)), min_size=1, max_size=4))
def test_initial_boxes_cover_images_of_any_size(sizes: list[tuple[int, int]]):
    image_sizes = torch.tensor(sizes, dtype=torch.float32)
    content, boxes, *_ = LearnedQueries(num_queries=2, embed_dim=4)(image_sizes)
    assert torch.isfinite(content).all()
    expected = torch.cat([torch.zeros_like(image_sizes), image_sizes.flip(-1)], dim=-1)
    expected = expected.unsqueeze(1).expand(-1, 2, -1)
    error = 1e-4 * image_sizes.amax(dim=-1).view(-1, 1, 1)
    assert ((xyzr_to_xyxy(boxes) - expected).abs() <= error).all()
