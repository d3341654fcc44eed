"""Repair what is safe to repair in an annotation file; everything else stays and is reported.

Safe: Windows paths where the file exists, the size of an image whose boxes need not move, boxes
over the edge, boxes from segmentations, missing or impossible areas, missing crowd flags, ids of
annotations. In a set of corners (x1, y1, x2, y2) no box is clipped: none is what it seems.
`repair` changes a copy; `write_repaired` writes it beside the old file.
"""

from __future__ import annotations

import itertools
import json
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...files import atomic_write_text
from ...printable_text import printable
from ..segmentation import with_box
from ..values import is_number
from .annotations import TOLERANCE, box_kind, is_area, is_box, is_large_area, show_box, sized
from .entries import Entries, check_entries, is_id_of, is_size, is_usable, key_of
from .findings import Json, Location
from .image_files import ImageFile, existing_name
from .remarks import check_box_format


@dataclass(frozen=True)
class Change:
    """One change: what was done ("clipped", "renumbered", ...), in which way, and where."""

    action: str
    detail: str
    location: Location

    def line(self) -> str:
        """Return the change as one line: ``annotation id 7, image id 3 (a.png): ...``."""
        return printable(f"{self.location}: {self.action}: {self.detail}")


def repair(content: Json, root: Path, files: dict[Path, ImageFile]) -> tuple[Json, list[Change]]:
    """Return a repaired copy of an annotation file, and every change.

    Args:
        files: result of `read_images_of`, by path.
    """
    fixed = content | {
        "images": [_copy(image) for image in content["images"]],
        "annotations": [with_box(_copy(annotation)) for annotation in content["annotations"]],
    }
    entries = check_entries(fixed)[0]
    boxes: dict[Any, list[Any]] = defaultdict(list)
    for annotation in entries.annotations:
        boxes[annotation["image_id"]].append(annotation["bbox"])
    changes: list[Change] = []
    for before, after in zip(content["annotations"], fixed["annotations"], strict=True):
        if isinstance(after, dict) and after.get("bbox") is not before.get("bbox"):
            detail = f"{show_box(after['bbox'])}, around its segmentation"
            changes.append(Change("box set", detail, Location.of_annotation(after)))
    for image in entries.images:
        _repair_image(image, boxes[key_of(image["id"])], root, files, changes)
    if not any(finding.kind == "looks_xyxy" for finding in check_box_format(entries)):
        _clip_boxes(entries, changes)
    for annotation in entries.annotations:
        _repair_fields(annotation, entries.image_of[annotation["image_id"]], changes)
    _number_annotations(fixed["annotations"], changes)
    return fixed, changes


def _copy(entry: Any) -> Any:
    return dict(entry) if isinstance(entry, dict) else entry


def _repair_image(
    image: Json,
    boxes: list[Any],
    root: Path,
    files: dict[Path, ImageFile],
    changes: list[Change],
) -> None:
    """Correct the name of an image, and its size unless boxes may have to move with it."""
    location = Location.of_image(image)
    name = existing_name(image["file_name"], root, files)
    if name != image["file_name"]:
        image["file_name"] = name
        changes.append(Change("renamed", f"file_name is now {name}", location))
    file = files[root / name]
    if file.fault is None and _size_alone_is_wrong(image, boxes, file):
        image["width"], image["height"] = file.width, file.height
        changes.append(Change("resized", f"size is now {file.width}x{file.height}", location))


def _size_alone_is_wrong(image: Json, boxes: list[Any], file: ImageFile) -> bool:
    """Return whether only the size of an image has to change, not its boxes."""
    new = file.width, file.height
    if not is_size(image):
        return True
    old = image["width"], image["height"]
    if old == new:
        return False
    is_swapped = old == new[::-1] and old != file.stored_size
    return not boxes or is_swapped or (_fit(boxes, new) and not _fit(boxes, old))


def _fit(boxes: list[Any], size: tuple[float, float]) -> bool:
    return all(
        min(x, y) >= -TOLERANCE and x + w <= size[0] + TOLERANCE and y + h <= size[1] + TOLERANCE
        for x, y, w, h in filter(is_box, boxes)
    )


def _clip_boxes(entries: Entries, changes: list[Change]) -> None:
    """Clip the boxes over the edge, where the size of the image is known."""
    for annotation, image in sized(entries):
        box = annotation["bbox"]
        if box_kind(box, image["width"], image["height"]) != "box_across":
            continue
        clipped = _clip(box, image["width"], image["height"])
        if min(clipped[2:]) > 0:
            annotation["bbox"] = clipped
            detail = f"{show_box(box)} is now {show_box(clipped)}"
            changes.append(Change("clipped", detail, Location.of_annotation(annotation, image)))


def _repair_fields(annotation: Json, image: Json, changes: list[Change]) -> None:
    """Set area and crowd flag of an annotation where they are impossible."""
    location = Location.of_annotation(annotation, image)
    area, flag = annotation.get("area"), annotation.get("iscrowd", 0)
    is_positive = is_box(annotation["bbox"]) and min(annotation["bbox"][2:]) > 0
    if is_positive and (not is_area(area) or is_large_area(annotation)):
        new = annotation["bbox"][2] * annotation["bbox"][3]
        if is_number(new) and new > 0:
            annotation["area"] = new
            changes.append(Change("area set", f"{area!r} is now {new:.6g}", location))
    if flag is None or flag in ("0", "1"):
        annotation["iscrowd"] = int(flag or 0)
        changes.append(Change("iscrowd set", f"{flag!r} is now {annotation['iscrowd']}", location))


def _clip(box: Any, width: float, height: float) -> list[float]:
    x1, y1 = max(box[0], 0), max(box[1], 0)
    x2, y2 = min(box[0] + box[2], width), min(box[1] + box[3], height)
    return [round(value, 4) for value in (x1, y1, x2 - x1, y2 - y1)]


def _number_annotations(annotations: list[Any], changes: list[Change]) -> None:
    """Give every annotation an id of its own, from 1; nothing else refers to these ids."""
    taken = {key_of(entry.get("id")) for entry in annotations if isinstance(entry, dict)}
    free = (number for number in itertools.count(1) if number not in taken)
    seen = set()
    for position, annotation in enumerate(annotations):
        if not is_usable("annotations", annotation):
            continue
        old = annotation.get("id")
        if is_id_of("annotations", old) and old != 0 and old not in seen:
            seen.add(old)
            continue
        annotation["id"] = next(free)
        location = Location(
            image_id=annotation["image_id"], entry=f"number {position} of 'annotations'"
        )
        changes.append(Change("renumbered", f"id {old!r} is now {annotation['id']}", location))


def repaired_paths(json_file: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Return the paths of a repaired annotation file and of the list of its changes."""
    old = Path(json_file)
    return old.with_name(f"{old.stem}.fixed.json"), old.with_name(f"{old.stem}.fixed.txt")


def write_repaired(
    json_file: str | os.PathLike[str], content: Json, changes: list[Change]
) -> tuple[Path, Path]:
    """Write ``NAME.fixed.json`` and the list of changes ``NAME.fixed.txt`` beside a file.

    Returns:
        The two paths; the old file is not changed.
    """
    new, log = repaired_paths(json_file)
    atomic_write_text(new, json.dumps(content))
    atomic_write_text(log, "".join(f"{change.line()}\n" for change in changes))
    return new, log
