"""Boxes, areas and crowds: what is wrong with single annotations, and with the form of them all.

In: usable entries. Out: findings. Boxes are (x, y, w, h) in pixels of the image's JSON size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from ..box_checks import box_fault
from ..values import is_number
from .entries import Entries, is_size
from .findings import Finding, Json, Place

TOLERANCE = 1.0  # pixels by which a box may pass the edge: some tools count to the last pixel
FAULTS = {
    "not four numbers": "box_not_numbers",
    "NaN, infinite or not a number": "box_not_numbers",
    "without width or height": "box_empty",
    "outside the image": "box_outside",
}


def check_boxes(entries: Entries) -> Iterator[Finding]:
    """Yield what is wrong with the boxes, first with all of them together."""
    form = form_of(entries)
    if form == "xyxy":
        yield Finding("looks_xyxy", "the boxes fit the images as x1, y1, x2, y2, not as x, y, w, h")
    elif form == "relative":
        yield Finding("looks_relative", "the boxes lie between 0 and 1")
    for annotation, image in _sized(entries):
        kind = box_kind(annotation["bbox"], image["width"], image["height"])
        if kind is not None:
            size = f"{_number(image['width'])}x{_number(image['height'])}"
            problem = f"box {show_box(annotation['bbox'])} in an image of {size}"
            yield Finding(kind, problem, Place.of_annotation(annotation, image))
    yield from _same_boxes(entries)


def _sized(entries: Entries) -> Iterator[tuple[Json, Json]]:
    """Yield the annotations with their images, where the size of these is known."""
    for annotation in entries.annotations:
        image = entries.image_of[annotation["image_id"]]
        if is_size(image):
            yield annotation, image


def form_of(entries: Entries) -> str | None:
    """Return what the boxes of a set plainly are instead of (x, y, w, h); see `guess_form`."""
    return guess_form((a["bbox"], image["width"], image["height"]) for a, image in _sized(entries))


def box_kind(box: Any, width: float, height: float) -> str | None:
    """Return the kind of what is wrong with a box, or None; see `KINDS`."""
    fault = box_fault(box, width, height)
    if fault is not None:
        kind = FAULTS[fault]
        return "box_negative" if kind == "box_empty" and min(box[2:]) < 0 else kind
    x, y, box_width, box_height = box
    beyond = max(-x, -y, x + box_width - width, y + box_height - height)
    return "box_across" if beyond > TOLERANCE else None


def guess_form(boxes: Iterable[tuple[Any, float, float]]) -> str | None:
    """Return "xyxy" or "relative" if boxes are plainly no (x, y, w, h) in pixels, or else None.

    Corners are recognised by that a good part of the boxes would cross the edge as (x, y, w, h),
    and nearly all lie inside as (x1, y1, x2, y2). Shares of the image lie between 0 and 1, and not
    all of them are 0 or 1: these may be pixels.

    Args:
        boxes: with width and height of their images, pixels.
    """
    total = crossing = corners = relative = fractions = 0
    for box, width, height in boxes:
        kind = box_kind(box, width, height)
        if kind in ("box_not_numbers", "box_negative"):
            continue
        total += 1
        x, y, third, fourth = box
        crossing += kind == "box_across"
        corners += is_corners(box, width, height)
        relative += max(box) <= 1 < min(width, height) / 8
        fractions += any(0 < value < 1 for value in box)
    if fractions and relative >= 0.95 * total:
        return "relative"
    if crossing >= max(3, 0.3 * total) and corners >= 0.95 * total:
        return "xyxy"
    return None


def is_box(value: Any) -> bool:
    """Tell whether a value is four finite numbers."""
    return isinstance(value, list | tuple) and len(value) == 4 and all(map(is_number, value))


def is_corners(box: Any, width: float, height: float) -> bool:
    """Tell whether four numbers are corners (x1, y1, x2, y2) inside an image."""
    x1, y1, x2, y2 = box
    return bool(x1 < x2 <= width + TOLERANCE and y1 < y2 <= height + TOLERANCE)


def show_box(box: Any) -> str:
    """Return a box as short text, whatever it is."""
    if isinstance(box, list | tuple) and all(isinstance(v, int | float) for v in box):
        return "[" + ", ".join(_number(value) for value in box) + "]"
    text = repr(box)
    return text if len(text) <= 60 else text[:57] + "..."


def _number(value: float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def box_key(annotation: Json) -> Any:
    """Return what two annotations of the same object have in common; None for a broken box."""
    box = annotation["bbox"]
    if not is_box(box):
        return None
    return annotation["image_id"], annotation["category_id"], tuple(box), meant_crowd(annotation)


def _same_boxes(entries: Entries) -> Iterator[Finding]:
    first: dict[Any, Json] = {}
    for annotation in entries.annotations:
        key = box_key(annotation)
        if key is None:
            continue
        other = first.setdefault(key, annotation)
        if other is not annotation:
            image = entries.image_of[annotation["image_id"]]
            named = f" as annotation id {other['id']}" if "id" in other else ""
            problem = f"the same box and class{named}"
            yield Finding("same_box", problem, Place.of_annotation(annotation, image))


def check_fields(entries: Entries) -> Iterator[Finding]:
    """Yield what is wrong with ``area`` and ``iscrowd``."""
    for annotation in entries.annotations:
        place = Place.of_annotation(annotation, entries.image_of[annotation["image_id"]])
        if "area" not in annotation:
            yield Finding("no_area", "it has no area", place)
        elif not is_area(annotation["area"]):
            yield Finding("odd_area", f"the area is {annotation['area']!r}", place)
        elif is_large_area(annotation):
            box = show_box(annotation["bbox"])
            problem = f"area {_number(annotation['area'])}, box {box}"
            yield Finding("large_area", problem, place)
        if not is_crowd_flag(annotation.get("iscrowd", 0)):
            yield Finding("odd_iscrowd", f"iscrowd is {annotation['iscrowd']!r}", place)


def is_area(value: Any) -> bool:
    """Tell whether a value can be an object's area."""
    return is_number(value) and not isinstance(value, bool) and value > 0


def is_large_area(annotation: Json) -> bool:
    """Tell whether the area of an object exceeds that of its box, counted generously."""
    box = annotation["bbox"]
    return is_box(box) and bool(annotation["area"] > (abs(box[2]) + 1) * (abs(box[3]) + 1))


def is_crowd_flag(value: Any) -> bool:
    """Tell whether a value can be ``iscrowd``."""
    return isinstance(value, int) and value in (0, 1)


def meant_crowd(annotation: Json) -> bool:
    """Tell whether an object is a crowd, also by a flag that is neither 0 nor 1."""
    flag = annotation.get("iscrowd", 0)
    return flag in ("1", 1) or (isinstance(flag, float) and flag > 0)


def check_crowded(entries: Entries, num_queries: int) -> Iterator[Finding]:
    """Yield the images with more objects than the model has queries; crowds are not learnt."""
    counts = Counter(a["image_id"] for a in entries.annotations if not a.get("iscrowd"))
    for image_id, count in counts.items():
        if count > num_queries:
            problem = f"{count} objects, {num_queries} queries"
            yield Finding("crowded", problem, Place.of_image(entries.image_of[image_id]))
