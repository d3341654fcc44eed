"""Repair images: what cannot be read goes, sizes become the files', and boxes follow.

Boxes are (x, y, w, h) in pixels. Each image is decided by itself, by its size in the JSON:

- the size before EXIF rotation: the boxes are turned as detectron2 turns the image;
- width and height swapped: only these are corrected;
- the same shape but another size, as of a resized copy: the boxes are scaled;
- anything else: only the size is corrected.

Boxes that lie inside the file's size but not inside the JSON's stay as they are in every case.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from .boxes import TOLERANCE, is_box
from .changes import ChangeLog
from .entries import is_size
from .findings import Json, Place
from .image_files import ImageFile, name_in_use

Size = tuple[float, float]


def rename_images(
    images: list[Json], root: Path, files: dict[Path, ImageFile], log: ChangeLog
) -> None:
    """Write / for the backslashes of Windows in file names, where only so there is a file."""
    for image in images:
        name = name_in_use(image["file_name"], root, files)
        if name != image["file_name"]:
            log.add("renamed", f"file_name is now {name}", Place.of_image(image))
            image["file_name"] = name


def drop_unreadable(
    images: list[Json],
    annotations: list[Json],
    root: Path,
    files: dict[Path, ImageFile],
    log: ChangeLog,
) -> tuple[list[Json], list[Json]]:
    """Return the images whose files can be read, and their annotations."""
    counts = Counter(annotation["image_id"] for annotation in annotations)
    kept, dropped = [], set()
    for image in images:
        fault = files[root / image["file_name"]].fault
        if fault is None:
            kept.append(image)
            continue
        dropped.add(image["id"])
        log.add("dropped", f"{fault}; objects: {counts[image['id']]}", Place.of_image(image))
    return kept, [a for a in annotations if a["image_id"] not in dropped]


def fill_sizes(
    images: list[Json], root: Path, files: dict[Path, ImageFile], log: ChangeLog
) -> None:
    """Give images without width and height those of their files."""
    for image in images:
        if not is_size(image):
            file = files[root / image["file_name"]]
            image["width"], image["height"] = file.width, file.height
            log.add("resized", f"size is now {file.width}x{file.height}", Place.of_image(image))


def correct_sizes(
    images: list[Json],
    annotations: list[Json],
    root: Path,
    files: dict[Path, ImageFile],
    log: ChangeLog,
) -> None:
    """Give images the sizes of their files, and move boxes that were for another size."""
    objects: dict[Any, list[Json]] = defaultdict(list)
    for annotation in annotations:
        objects[annotation["image_id"]].append(annotation)
    for image in images:
        file = files[root / image["file_name"]]
        old, new = (image["width"], image["height"]), (file.width, file.height)
        if old != new:
            told = f"size {old[0]}x{old[1]} is now {new[0]}x{new[1]}"
            told += _move_boxes(objects[image["id"]], old, file)
            image["width"], image["height"] = new
            log.add("resized", told, Place.of_image(image))


def _move_boxes(objects: list[Json], old: Size, file: ImageFile) -> str:
    """Change boxes from the JSON's size to the file's; return what was done, for the log."""
    new = file.width, file.height
    movable = [annotation for annotation in objects if is_box(annotation["bbox"])]
    boxes = [annotation["bbox"] for annotation in movable]
    if _fit(boxes, new) and not _fit(boxes, old):
        return ""
    if old == file.stored_size:
        moved = [turn_box(box, old, file.orientation) for box in boxes]
        told = f", {len(boxes)} boxes turned by EXIF orientation {file.orientation}"
    elif old != new[::-1] and abs(old[0] * new[1] - old[1] * new[0]) <= 0.01 * old[0] * new[1]:
        scale = new[0] / old[0], new[1] / old[1]
        moved = [[value * scale[i % 2] for i, value in enumerate(box)] for box in boxes]
        told = f", {len(boxes)} boxes scaled by {scale[0]:.4g}"
    else:
        return ""
    for annotation, box in zip(movable, moved, strict=True):
        annotation["bbox"] = [round(value, 4) for value in box]
        annotation.pop("area", None)  # of the other size, as outlines and keypoints are
        annotation.pop("segmentation", None)
        annotation.pop("keypoints", None)
    return told


def _fit(boxes: list[Any], size: Size) -> bool:
    return all(
        min(x, y) >= -TOLERANCE and x + w <= size[0] + TOLERANCE and y + h <= size[1] + TOLERANCE
        for x, y, w, h in boxes
    )


def turn_box(box: Any, size: Size, orientation: int) -> list[float]:
    """Return a box as it lies after an image is turned by an EXIF orientation.

    Args:
        box: (x, y, w, h) in pixels of the stored image.
        size: width and height of the stored image.
        orientation: 1 to 8.
    """
    x, y, width, height = box
    right, below = size[0] - x - width, size[1] - y - height
    return {
        1: [x, y, width, height],
        2: [right, y, width, height],
        3: [right, below, width, height],
        4: [x, below, width, height],
        5: [y, x, height, width],
        6: [below, x, height, width],
        7: [below, right, height, width],
        8: [y, right, height, width],
    }[orientation]
