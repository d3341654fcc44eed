"""YOLO sets as COCO JSON.

In: a data.yaml. Out: what a COCO-format JSON file holds, and the folder of the images. A line of a
label file is a class and numbers in shares of the image's size: a box (centre, width, height), with
keypoints behind it if data.yaml has "kpt_shape", or an outline of three points or more.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..errors import DataError
from ..plain_yaml import MAX_BYTES, read_plain
from .conversion import Json, Objects, as_coco, image_files, upright_size
from .text_files import read_text

IMAGES, LABELS = "images", "labels"  # .../images/train/a.jpg, .../labels/train/a.txt


def convert_yolo(data_yaml: str | Path, split: str) -> tuple[Json, Path]:
    """Read one split of a YOLO set; of outlines and keypoints the boxes are taken.

    Args:
        data_yaml: file with "names" and a folder of images for every split; "path" may give the
            folder they start from. The labels lie in the folder "labels" beside "images".

    Returns:
        The content of a COCO JSON file, and the folder of the images.

    Raises:
        DataError: a file or folder is missing, or an image or a label cannot be read.
    """
    content = _content(Path(data_yaml), split)
    images = _images(Path(data_yaml), content, split)
    labels = _labels(images)
    names = _names(data_yaml, content.get("names"))
    objects = {
        path: read_labels(labels / f"{path.stem}.txt", names, upright_size(path), content)
        for path in image_files(images)
    }
    return as_coco(objects, list(names.values())), images


def _content(data_yaml: Path, split: str) -> dict[str, Any]:
    missing = "no such file; give the data.yaml of a YOLO set"
    try:
        content = read_plain(read_text(data_yaml, MAX_BYTES, if_missing=missing))
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{data_yaml} is not readable as YAML: {reason}") from error
    if not isinstance(content, dict) or not isinstance(content.get(split), str):
        entry = content.get(split, "nothing") if isinstance(content, dict) else content
        shown = reprlib.repr(entry)
        raise DataError(f"{data_yaml}: {split!r} must name one folder of images, not {shown}")
    return content


def _images(data_yaml: Path, content: dict[str, Any], split: str) -> Path:
    """Return the folder of a split's images."""
    root = data_yaml.parent / str(content.get("path") or "")
    named = content[split]
    # exports of Roboflow say ../train/images for a folder that lies beside data.yaml
    for folder in (root / named, root / named.removeprefix("../")):
        if folder.is_dir():
            return folder
    raise DataError(f"{root / named}: no such folder of images ({split!r} of {data_yaml})")


def _labels(images: Path) -> Path:
    """Return the folder of the label files: "labels" in place of the last "images"."""
    parts = list(images.parts)
    if IMAGES in parts:
        parts[len(parts) - 1 - parts[::-1].index(IMAGES)] = LABELS
    labels = Path(*parts)
    if not labels.is_dir():
        raise DataError(f"{labels}: no such folder; the labels of {images} are looked for there")
    return labels


def _names(data_yaml: str | Path, given: Any) -> dict[int, str]:
    """Return the class names by number, in the order of the numbers."""
    names = dict(enumerate(given)) if isinstance(given, list) else given
    if isinstance(names, dict) and all(
        type(number) is int and type(name) in (str, int) for number, name in names.items()
    ):
        return {number: str(names[number]) for number in sorted(names)}
    raise DataError(f"{data_yaml}: 'names' must list the class names, not {reprlib.repr(given)}")


def read_labels(
    path: Path, names: Mapping[int, str], size: tuple[int, int], content: Mapping[str, Any]
) -> Objects:
    """Return class names and boxes, xyxy in pixels, of a label file; without it there are none.

    Args:
        size: width and height of the image in pixels.
        content: of data.yaml.

    Raises:
        DataError: the file cannot be read, or a line of it; the message has its number.
    """
    if not path.exists() or (path.is_file() and path.stat().st_size == 0):
        return []
    objects = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        label, *values = map(_number, line.split())
        if label not in names or not all(map(math.isfinite, values)):
            raise DataError(f"{path}, line {number}: no class of data.yaml, or not all numbers")
        if len(values) == 4 or (len(values) > 4 and "kpt_shape" in content):
            x, y, w, h = values[:4]
            xs, ys = [x - w / 2, x + w / 2], [y - h / 2, y + h / 2]
        elif len(values) >= 6 and len(values) % 2 == 0:
            xs, ys = values[::2], values[1::2]
            xs, ys = [min(xs), max(xs)], [min(ys), max(ys)]
        else:
            raise DataError(f"{path}, line {number}: neither a box of 4 numbers nor an outline")
        box = xs[0] * size[0], ys[0] * size[1], xs[1] * size[0], ys[1] * size[1]
        objects.append((names[int(label)], box))
    return objects


def _number(text: str) -> float:
    """Return the number that a text says, else NaN."""
    try:
        return float(text)
    except ValueError:
        return math.nan
