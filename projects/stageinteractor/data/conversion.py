"""What the conversions of data sets to COCO JSON share: their images, and COCO's layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from ..errors import DataError
from .checks.image_files import QUARTER_TURNS
from .image_io import ImageReadError, open_image, reason_of

Json = dict[str, Any]
Objects = Sequence[tuple[str, Sequence[float]]]  # class name and box, xyxy in pixels, of an image


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
