"""YOLO sets as COCO JSON, read by the library supervision; what other conversions share.

In: a data.yaml. Out: what a COCO-format JSON file holds, and the folder of the images. Category ids
are those of the classes plus 1.
"""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from PIL import ExifTags, Image

from ..errors import DataError, MissingDependencyError
from ..plain_yaml import MAX_BYTES, read_plain
from .checks.image_files import QUARTER_TURNS
from .image_io import ImageReadError, open_image, reason_of
from .text_files import read_text
from .yolo_labels import plain_labels

Json = dict[str, Any]
Objects = Sequence[tuple[str, Sequence[float]]]  # class name and box, xyxy in pixels, of an image
IMAGES, LABELS = "images", "labels"  # of YOLO: .../images/train/a.jpg, .../labels/train/a.txt


def convert_yolo(data_yaml: str | Path, split: str) -> tuple[Json, Path]:
    """Read one split of a YOLO set: boxes, or outlines and keypoints, of which the boxes are taken.

    Meanwhile the library holds outlines as masks: one byte per pixel and object.

    Args:
        data_yaml: file with "names" and a folder of images for every split; "path" may give the
            folder they start from. The labels lie in the folder "labels" beside "images".

    Returns:
        The content of a COCO JSON file, and the folder of the images.

    Raises:
        MissingDependencyError: supervision is not installed.
        DataError: a file or folder is missing, or a label cannot be read.
    """
    supervision = _supervision()
    images = _yolo_images(Path(data_yaml), split)
    labels = _yolo_labels(images)
    image_files(images)
    with plain_labels(labels) as plain:
        try:
            dataset = supervision.DetectionDataset.from_yolo(
                str(images), str(plain), str(data_yaml), show_progress=sys.stderr.isatty()
            )
        except (OSError, ValueError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split()).replace(str(plain), str(labels))
            raise DataError(f"{data_yaml}, {split}: {reason}") from error
    objects = {}
    for path in dataset.image_paths:
        boxes = dataset.annotations[path]
        names = [dataset.classes[label] for label in boxes.class_id.tolist()]
        objects[Path(path)] = list(zip(names, boxes.xyxy.tolist(), strict=True))
    return as_coco(objects, list(dataset.classes)), images


def _yolo_images(data_yaml: Path, split: str) -> Path:
    """Return the folder of a split's images."""
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
    root = data_yaml.parent / str(content.get("path") or "")
    named = content[split]
    # exports of Roboflow say ../train/images for a folder that lies beside data.yaml
    for folder in (root / named, root / named.removeprefix("../")):
        if folder.is_dir():
            return folder
    raise DataError(f"{root / named}: no such folder of images ({split!r} of {data_yaml})")


def _yolo_labels(images: Path) -> Path:
    """Return the folder of the label files: "labels" in place of the last "images"."""
    parts = list(images.parts)
    if IMAGES in parts:
        parts[len(parts) - 1 - parts[::-1].index(IMAGES)] = LABELS
    labels = Path(*parts)
    if not labels.is_dir():
        raise DataError(f"{labels}: no such folder; the labels of {images} are looked for there")
    return labels


def _supervision() -> Any:
    try:
        import supervision
    except ImportError as error:
        raise MissingDependencyError(
            "converting needs the library supervision: pip install 'stageinteractor[convert]'"
        ) from error
    return supervision


def as_coco(objects: Mapping[Path, Objects], classes: Sequence[str]) -> Json:
    """Return images and their objects in COCO's layout.

    Args:
        objects: by the path of an image; boxes are in pixels of the turned image.
        classes: names, in the order of the category ids, which start at 1.

    Raises:
        ImageReadError: an image cannot be read.
    """
    category_ids = {name: number for number, name in enumerate(classes, start=1)}
    images: list[Json] = []
    annotations: list[Json] = []
    for path, entries in sorted(objects.items()):
        width, height = upright_size(path)
        image = {"id": len(images) + 1, "file_name": path.name, "width": width, "height": height}
        images.append(image)
        for name, box in entries:
            x1, y1, x2, y2 = (round(value, 3) for value in box)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": category_ids[name],
                    "bbox": [x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)],
                    "area": round((x2 - x1) * (y2 - y1), 3),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number, "name": name} for name, number in category_ids.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def image_files(folder: Path) -> list[Path]:
    """Return the images of a folder, sorted.

    Raises:
        DataError: there are none, some lie in subfolders, or one cannot be read.
    """
    known = Image.registered_extensions()
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in known)
    deeper = [path for path in paths if path.parent != folder]
    if deeper:
        raise DataError(
            f"{deeper[0]}: {len(deeper)} images lie in subfolders of {folder}, which are not read; "
            "move them up, or make each folder a split"
        )
    if not paths:
        raise DataError(f"{folder}: no images in this folder")
    for path in paths:
        upright_size(path)
    return paths


def upright_size(path: Path) -> tuple[int, int]:
    """Return width and height of an image, turned by its EXIF orientation.

    Raises:
        ImageReadError: it cannot be read.
    """
    try:
        with open_image(path) as image:
            orientation = image.getexif().get(ExifTags.Base.Orientation)
            if image.format == "TIFF":
                image.load()  # Pillow turns it
                orientation = 1
            width, height = image.size
    except Exception as error:  # Pillow raises whatever the bytes lead it to
        raise ImageReadError(str(path), reason_of(error)) from error
    return (height, width) if orientation in QUARTER_TURNS else (width, height)
