"""Boxes in an image 60 pixels wide and 40 high."""

import math
from typing import Any

import pytest

from stageinteractor.data.box_checks import box_fault


@pytest.mark.parametrize(
    "box",
    [
        [10, 5, 20, 10],
        (10.5, 5.25, 0.01, 0.01),
        [0, 0, 60, 40],
        [-5, -5, 6, 6],  # one pixel of it is inside
        [59, 39, 100, 100],
    ],
)
def test_boxes_that_overlap_the_image_are_usable(box: Any):
    assert box_fault(box, 60, 40) is None


@pytest.mark.parametrize("box", [None, 5, "1234", {}, [], [1, 2, 3], [1, 2, 3, 4, 5]])
def test_box_of_another_kind(box: Any):
    assert box_fault(box, 60, 40) == "not four numbers"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "3", [3], 10**400])
@pytest.mark.parametrize("position", range(4))
def test_box_with_a_value_that_is_no_finite_number(value: Any, position: int):
    box: list[Any] = [1, 2, 3, 4]
    box[position] = value
    assert box_fault(box, 60, 40) == "NaN, infinite or not a number"


@pytest.mark.parametrize(
    "box", [[1, 2, 0, 4], [1, 2, 3, 0], [1, 2, -3, 4], [1, 2, 3, -0.5], [1, 2, 1e-200, 1e-200]]
)
def test_box_without_area(box: list[float]):
    assert box_fault(box, 60, 40) == "without width or height"


@pytest.mark.parametrize(
    "box", [[60, 2, 3, 4], [1, 40, 3, 4], [-3, 2, 3, 4], [1, -4, 3, 4], [900, 900, 1, 1]]
)
def test_box_that_does_not_overlap_the_image(box: list[float]):
    assert box_fault(box, 60, 40) == "outside the image"
