"""What can be wrong with the box of an annotation."""

from __future__ import annotations

import math
from typing import Any


def box_fault(box: Any, width: float, height: float) -> str | None:
    """Name what makes a COCO box (x, y, w, h) in pixels unusable, or return None.

    Args:
        box: the annotation's ``bbox``, whatever it is.
        width, height: of its image, pixels.
    """
    if not isinstance(box, list | tuple) or len(box) != 4:
        return "not four numbers"
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in box):
        return "NaN, infinite or not a number"
    x, y, box_width, box_height = box
    if box_width <= 0 or box_height <= 0:
        return "without width or height"
    if x >= width or y >= height or x + box_width <= 0 or y + box_height <= 0:
        return "outside the image"
    return None
