"""Outlines of annotations: polygons, or a run-length encoded (RLE) mask.

COCO's RLE counts pixels column by column, outside and inside the mask in turn, as a list of numbers
or, compressed, as text of five bits a character. pycocotools trusts what it reads, so counts are
checked first.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from pycocotools import mask

from .values import is_number

NUMBER = re.compile("[P-o]{0,6}[0-O]")  # of compressed RLE, the lowest bits first
MAX_AREA = 2**31 - 1  # pixels; pycocotools counts in 32 bits


def with_box(annotation: Any) -> Any:
    """Return an annotation with ``bbox``, taken from ``segmentation`` where it has none.

    Returns:
        A copy with a box; or, if it has one or nothing gives one, the annotation itself.
    """
    if not isinstance(annotation, dict) or annotation.get("bbox") not in (None, []):
        return annotation
    box = box_of(annotation.get("segmentation"))
    return annotation if box is None else annotation | {"bbox": box}


def box_of(segmentation: Any) -> list[float] | None:
    """Return the box (x, y, w, h) in pixels around a COCO segmentation, None if it is malformed."""
    if isinstance(segmentation, dict):
        return _box_of_rle(segmentation)
    if not isinstance(segmentation, list) or not segmentation:
        return None
    if not all(map(_is_polygon, segmentation)):
        return None
    xs = [x for polygon in segmentation for x in polygon[::2]]
    ys = [y for polygon in segmentation for y in polygon[1::2]]
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def usable_mask(segmentation: Any, height: int, width: int) -> Any:
    """Return a COCO segmentation as detectron2's mappers take it, None if it is malformed.

    Polygons of less than three points are left out, and plain counts are compressed. An RLE of
    another size than the image's (height, width) is malformed.
    """
    if isinstance(segmentation, list):
        polygons = [each for each in segmentation if _is_polygon(each)]
        return polygons or None
    if _box_of_rle(segmentation if isinstance(segmentation, dict) else {}) is None:
        return None
    if segmentation["size"] != [height, width]:
        return None
    if isinstance(segmentation["counts"], str):
        return segmentation
    return _as_json(mask.frPyObjects(segmentation, height, width))


def encode_mask(pixels: np.ndarray) -> dict[str, Any]:
    """Return a mask (H, W) as compressed RLE that can be written as JSON."""
    return _as_json(mask.encode(np.asfortranarray(pixels, dtype=np.uint8)))


def decode_mask(segmentation: Any, height: int, width: int) -> np.ndarray | None:
    """Return the mask (height, width), bool, of a COCO segmentation; None if it is malformed."""
    outline = usable_mask(segmentation, height, width)
    if outline is None:
        return None
    if isinstance(outline, list):
        outline = mask.merge(mask.frPyObjects(outline, height, width))
    pixels: np.ndarray = mask.decode(outline).astype(bool)
    return pixels


def _as_json(encoded: dict[str, Any]) -> dict[str, Any]:
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode("ascii")}


def _is_polygon(value: Any) -> bool:
    """Return whether a value is x, y, x, y, ... of at least three points."""
    if not isinstance(value, list) or len(value) < 6 or len(value) % 2:
        return False
    return all(is_number(number) and not isinstance(number, bool) for number in value)


def _box_of_rle(rle: dict[str, Any]) -> list[float] | None:
    size, counts = rle.get("size"), rle.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not all(map(_is_count, size)):
        return None
    height, width = size
    if not 0 < height * width <= MAX_AREA:
        return None
    counts = _decompressed(counts) if isinstance(counts, str) else counts
    if not isinstance(counts, list) or not all(map(_is_count, counts)):
        return None
    if sum(counts) != height * width:
        return None
    encoded = mask.frPyObjects({"size": size, "counts": counts}, height, width)
    box: list[float] = mask.toBbox(encoded).tolist()
    return box


def _decompressed(text: str) -> list[int]:
    """Return the counts of compressed RLE; any other text gives impossible counts.

    From the fourth count on, the text has the difference to the last but one.
    """
    numbers = NUMBER.findall(text)
    if "".join(numbers) != text:
        return [-1]
    counts: list[int] = []
    for number in numbers:
        value = sum((ord(sign) - 48 & 31) << 5 * place for place, sign in enumerate(number))
        if ord(number[-1]) - 48 & 16:  # negative
            value -= 1 << 5 * len(number)
        counts.append(value + counts[-2] if len(counts) > 2 else value)
    return counts


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
