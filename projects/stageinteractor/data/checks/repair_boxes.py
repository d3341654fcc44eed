"""Repair boxes, areas and crowds; what cannot be repaired is dropped.

Boxes are (x, y, w, h) in pixels; the images have their right sizes by now.
"""

from __future__ import annotations

from typing import Any

from .boxes import (
    box_key,
    box_kind,
    is_area,
    is_box,
    is_crowd_flag,
    is_large_area,
    meant_crowd,
    show_box,
)
from .changes import ChangeLog
from .findings import KINDS, Json, Place


def repair_form(
    form: str | None, images: list[Json], annotations: list[Json], log: ChangeLog
) -> None:
    """Turn all boxes into (x, y, w, h) in pixels from another form; see `guess_form`."""
    if form is None:
        return
    sizes = {image["id"]: (image["width"], image["height"]) for image in images}
    changed = 0
    for annotation in annotations:
        if not is_box(annotation["bbox"]):
            continue
        first, second, third, fourth = annotation["bbox"]
        if form == "xyxy":
            box = [first, second, third - first, fourth - second]
        else:
            width, height = sizes[annotation["image_id"]]
            box = [first * width, second * height, third * width, fourth * height]
        annotation["bbox"] = [round(value, 4) for value in box]
        annotation.pop("area", None)
        changed += 1
    told = "x1, y1, x2, y2" if form == "xyxy" else "shares of width and height"
    log.add("rewritten", f"{changed} boxes were {told} and are now x, y, w, h in pixels")


def repair_boxes(images: list[Json], annotations: list[Json], log: ChangeLog) -> list[Json]:
    """Return the annotations with boxes inside their images, each object once."""
    image_of = {image["id"]: image for image in images}
    kept: list[Json] = []
    seen: dict[Any, Json] = {}
    for annotation in annotations:
        image = image_of[annotation["image_id"]]
        place = Place.of_annotation(annotation, image)
        if not _repair_box(annotation, image, place, log):
            continue
        other = seen.setdefault(box_key(annotation), annotation)
        if other is annotation:
            kept.append(annotation)
        else:
            log.add("dropped", f"the same box and class as annotation id {other.get('id')}", place)
    return kept


def _repair_box(annotation: Json, image: Json, place: Place, log: ChangeLog) -> bool:
    """Flip and clip a box; return False, with a note in the log, if nothing is left of it."""
    old, width, height = annotation["bbox"], image["width"], image["height"]
    box, done = old, []
    if box_kind(box, width, height) == "box_negative":
        box, done = _flip(box), ["flipped"]
    if box_kind(box, width, height) == "box_across":
        box, done = _clip(box, width, height), [*done, "clipped"]
    kind = box_kind(box, width, height)
    if kind is not None:
        log.add("dropped", f"{KINDS[kind].name}: {show_box(old)}", place)
        return False
    if done:
        annotation["bbox"] = box
        if "area" in annotation and is_area(annotation["area"]) and is_large_area(annotation):
            annotation["area"] = box[2] * box[3]
        log.add(" and ".join(done), f"{show_box(old)} is now {show_box(box)}", place)
    return True


def _flip(box: Any) -> list[float]:
    x, y, width, height = box
    return [x + min(width, 0), y + min(height, 0), abs(width), abs(height)]


def _clip(box: Any, width: float, height: float) -> list[float]:
    x1, y1 = max(box[0], 0), max(box[1], 0)
    x2, y2 = min(box[0] + box[2], width), min(box[1] + box[3], height)
    return [round(value, 4) for value in (x1, y1, x2 - x1, y2 - y1)]


def repair_fields(annotations: list[Json], log: ChangeLog) -> None:
    """Set ``area`` and ``iscrowd`` where they are missing or cannot be."""
    filled = 0
    for annotation in annotations:
        _, _, width, height = annotation["bbox"]
        place = Place(annotation_id=annotation.get("id"), image_id=annotation["image_id"])
        if "area" not in annotation:
            filled += 1
            annotation["area"] = width * height
        elif not is_area(annotation["area"]) or is_large_area(annotation):
            told = f"{annotation['area']!r} is now {width * height:.6g}"
            annotation["area"] = width * height
            log.add("area set", told, place)
        flag = annotation.get("iscrowd", 0)
        if not is_crowd_flag(flag):
            annotation["iscrowd"] = int(meant_crowd(annotation))
            log.add("iscrowd set", f"{flag!r} is now {annotation['iscrowd']}", place)
    if filled:
        log.add("area set", f"width times height, for {filled} objects that had none or were moved")
