"""YOLO and Pascal VOC sets as COCO JSON, read by the library supervision.

In: a data.yaml, or a folder of XML files. Out: what a COCO-format JSON file holds, and the folder
of the images. Category ids are those of the classes plus 1.
"""

from __future__ import annotations

import math
import reprlib
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml
from PIL import ExifTags, Image

from ..errors import DataError, MissingDependencyError
from ..plain_yaml import MAX_BYTES, read_plain
from ..regular_files import MIB, require_regular_file
from .checks.image_files import QUARTER_TURNS
from .image_io import ImageReadError, open_image, reason_of
from .text_files import read_text
from .yolo_labels import plain_labels

Json = dict[str, Any]
CORNERS = ("xmin", "ymin", "xmax", "ymax")  # of Pascal VOC
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
    _require_readable(images)
    with plain_labels(labels) as plain:
        try:
            dataset = supervision.DetectionDataset.from_yolo(
                str(images), str(plain), str(data_yaml), show_progress=sys.stderr.isatty()
            )
        except (OSError, ValueError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split()).replace(str(plain), str(labels))
            raise DataError(f"{data_yaml}, {split}: {reason}") from error
    return _as_coco(dataset, list(dataset.classes), images), images


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


def convert_voc(folder: str | Path, split: str) -> tuple[Json, Path]:
    """Read a Pascal VOC set.

    Args:
        folder: with Annotations, JPEGImages and ImageSets/Main/SPLIT.txt; or with a folder SPLIT
            that holds images and XML files side by side.

    Returns:
        The content of a COCO JSON file, and the folder of the images. The classes are those of all
        XML files in ``folder``, sorted, so that every split has the same.

    Raises:
        MissingDependencyError: supervision is not installed.
        DataError: a file or folder is missing, or an XML file or image cannot be read.
    """
    supervision = _supervision()
    root = Path(folder)
    images, annotations, members = _voc_folders(root, split)
    classes = _voc_classes(root)
    _require_readable(images)
    try:
        dataset = supervision.DetectionDataset.from_pascal_voc(
            str(images), str(annotations), show_progress=sys.stderr.isatty()
        )
    except (OSError, ValueError) as error:
        raise DataError(f"{annotations}: {' '.join(str(error).split())}") from error
    return _as_coco(dataset, classes, images, members), images


def _voc_folders(root: Path, split: str) -> tuple[Path, Path, set[str] | None]:
    """Return the folders of images and XML files, and the stems of the split's images."""
    if (root / "Annotations").is_dir():
        listed = root / "ImageSets" / "Main" / f"{split}.txt"
        missing = f"no such file; it lists the images of {split!r}"
        lines = read_text(listed, if_missing=missing).splitlines()
        members = {line.split()[0] for line in lines if line.strip()}
        return root / "JPEGImages", root / "Annotations", members
    if not (root / split).is_dir():
        raise DataError(f"{root}: neither a folder Annotations nor a folder {split}")
    return root / split, root / split, None


def _voc_classes(root: Path) -> list[str]:
    names: set[str] = set()
    for path in sorted(root.rglob("*.xml")):
        require_regular_file(path, 100 * MIB)
        try:
            objects = ElementTree.parse(path).getroot().iter("object")
        except ElementTree.ParseError as error:
            raise DataError(f"{path} is not readable as XML: {error}") from error
        for entry in objects:
            name = entry.findtext("name")
            corners = [entry.findtext(f"bndbox/{tag}") for tag in CORNERS]
            if not name or not all(map(_is_number, corners)):  # the library would not say where
                raise DataError(f"{path}: an object has no name, or no bndbox of four numbers")
            names.add(name)
    if not names:
        raise DataError(f"{root}: no XML file with an object")
    return sorted(names)


def _is_number(text: str | None) -> bool:
    try:
        return text is not None and math.isfinite(float(text))
    except ValueError:
        return False


def _supervision() -> Any:
    try:
        import supervision
    except ImportError as error:
        raise MissingDependencyError(
            "converting needs the library supervision: pip install 'stageinteractor[convert]'"
        ) from error
    return supervision


def _as_coco(dataset: Any, classes: list[str], root: Path, members: set[str] | None = None) -> Json:
    """Return a supervision DetectionDataset in COCO's layout; boxes in pixels of the turned image.

    Args:
        classes: names, in the order of the category ids, which start at 1.
        members: stems of the images to take; all if None.
    """
    paths = sorted(Path(path) for path in dataset.image_paths)
    _require_all_images(paths, root, members)
    category_ids = [classes.index(name) + 1 for name in dataset.classes]
    images: list[Json] = []
    annotations: list[Json] = []
    for path in paths:
        if members is not None and path.stem not in members:
            continue
        width, height = _upright_size(path)
        image = {"id": len(images) + 1, "file_name": path.name, "width": width, "height": height}
        images.append(image)
        boxes = dataset.annotations[str(path)]
        for box, label in zip(boxes.xyxy.tolist(), boxes.class_id.tolist(), strict=True):
            x1, y1, x2, y2 = (round(value, 3) for value in box)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": category_ids[label],
                    "bbox": [x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)],
                    "area": round((x2 - x1) * (y2 - y1), 3),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _require_all_images(paths: list[Path], root: Path, members: set[str] | None) -> None:
    """Refuse sets of which the library would read only a part."""
    if not paths:
        raise DataError(f"{root}: no images in this folder")
    known = Image.registered_extensions()
    deeper = [p for p in root.rglob("*") if p.suffix.lower() in known and p.parent != root]
    if deeper:
        raise DataError(
            f"{deeper[0]}: {len(deeper)} images lie in subfolders of {root}, which are not read; "
            "move them up, or make each folder a split"
        )
    lacking = sorted((members or set()) - {path.stem for path in paths})
    if lacking:
        raise DataError(f"{root}: {len(lacking)} images of the split are missing, as {lacking[0]}")


def _require_readable(images: Path) -> None:
    """Refuse images that the library would stumble over, or read whatever size they claim."""
    known = Image.registered_extensions()
    for path in sorted(images.glob("*")):
        if path.suffix.lower() in known:
            _upright_size(path)


def _upright_size(path: Path) -> tuple[int, int]:
    """Return width and height of an image, turned by its EXIF orientation."""
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
