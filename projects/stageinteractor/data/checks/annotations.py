"""Box, area and iscrowd of single annotations.

Boxes are (x, y, w, h) in pixels of the image's size in the JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..values import is_number
from .entries import Entries, is_size
from .findings import Finding, Json, Location

TOLERANCE = 1.0  # pixels by which a box may pass the edge: some tools count to the last pixel


def is_box(value: Any) -> bool:
    """Return whether a value is four finite numbers."""
    return isinstance(value, list | tuple) and len(value) == 4 and all(map(is_number, value))


def box_kind(box: Any, width: float, height: float) -> str | None:
    """Return the kind of what is wrong with a box (key of `KINDS`), or None.

    Args:
        width, height: of its image, pixels.
    """
    if not is_box(box):
        return "box_not_numbers"
    x, y, box_width, box_height = box
    if box_width <= 0 or box_height <= 0 or box_width * box_height == 0:  # it may underflow
        return "box_negative" if min(box_width, box_height) < 0 else "box_empty"
    if x >= width or y >= height or x + box_width <= 0 or y + box_height <= 0:
        return "box_outside"
    beyond = max(-x, -y, x + box_width - width, y + box_height - height)
    return "box_across" if beyond > TOLERANCE else None


def check_boxes(entries: Entries) -> Iterator[Finding]:
    """Yield what is wrong with the boxes of images whose size is known."""
    for annotation, image in sized(entries):
        kind = box_kind(annotation["bbox"], image["width"], image["height"])
        if kind is not None:
            size = f"{show_number(image['width'])}x{show_number(image['height'])}"
            problem = f"box {show_box(annotation['bbox'])} in an image of {size}"
            yield Finding(kind, problem, Location.of_annotation(annotation, image))


def sized(entries: Entries) -> Iterator[tuple[Json, Json]]:
    """Yield the annotations with their images, where the size of these is known."""
    for annotation in entries.annotations:
        image = entries.image_of[annotation["image_id"]]
        if is_size(image):
            yield annotation, image


def check_fields(entries: Entries) -> Iterator[Finding]:
    """Yield values of ``area`` and ``iscrowd`` that are impossible."""
    for annotation in entries.annotations:
        area, flag = annotation.get("area", 1), annotation.get("iscrowd", 0)
        image = entries.image_of[annotation["image_id"]]
        if not is_area(area):
            yield _area_finding(annotation, image)
        if not is_crowd_flag(flag):
            location = Location.of_annotation(annotation, image)
            yield Finding("invalid_iscrowd", f"iscrowd is {flag!r}", location)


def zero_areas(annotations: list[Json], image_of: Mapping[Any, Json]) -> Iterator[Finding]:
    """Yield the areas of checked annotations that are not positive."""
    for annotation in annotations:
        if annotation["area"] <= 0:
            yield _area_finding(annotation, image_of[annotation["image_id"]])


def _area_finding(annotation: Json, image: Json) -> Finding:
    area = annotation["area"]
    kind = "zero_area" if is_number(area) and not isinstance(area, bool) else "invalid_area"
    return Finding(kind, f"the area is {area!r}", Location.of_annotation(annotation, image))


def is_area(value: Any) -> bool:
    """Return whether a value can be the area of an object."""
    return is_number(value) and not isinstance(value, bool) and value > 0


def is_crowd_flag(value: Any) -> bool:
    """Return whether a value can be ``iscrowd``."""
    return isinstance(value, int) and value in (0, 1)


def is_large_area(annotation: Json) -> bool:
    """Return whether the area of an object exceeds that of its box by more than rounding."""
    box = annotation["bbox"]
    return is_box(box) and bool(annotation["area"] > (abs(box[2]) + 1) * (abs(box[3]) + 1))


def show_box(box: Any) -> str:
    """Return a box as short text, whatever it is."""
    if isinstance(box, list | tuple) and all(isinstance(v, int | float) for v in box):
        return "[" + ", ".join(show_number(value) for value in box) + "]"
    text = repr(box)
    return text if len(text) <= 60 else text[:57] + "..."


def show_number(value: float) -> str:
    """Return a number as short text."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
