"""What can be wrong with the box of an annotation."""

from __future__ import annotations

from typing import Any

from .values import is_number


def box_fault(box: Any, width: float, height: float) -> str | None:
    """Name what makes a COCO box (x, y, w, h) in pixels unusable, or return None.

    Args:
        box: the annotation's ``bbox``, whatever it is.
        width, height: of its image, pixels.
    """
    if not isinstance(box, list | tuple) or len(box) != 4:
        return "not four numbers"
    if not all(map(is_number, box)):
        return "NaN, infinite or not a number"
    x, y, box_width, box_height = box
    if box_width <= 0 or box_height <= 0 or box_width * box_height == 0:  # it may underflow
        return "without width or height"
    if x >= width or y >= height or x + box_width <= 0 or y + box_height <= 0:
        return "outside the image"
    return None
