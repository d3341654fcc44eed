"""Pascal VOC sets as COCO JSON.

In: a folder of XML files and images. Out: what a COCO-format JSON file holds, and the folder of the
images. Corners count pixels from 1 and belong to the box, as VOC's development kit has it: the box
from (1, 1) to (60, 40) is 60 x 40 pixels large.
"""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

from ..errors import DataError
from ..regular_files import MIB, require_regular_file
from .conversion import Json, Objects, as_coco, image_files
from .text_files import read_text

CORNERS = ("xmin", "ymin", "xmax", "ymax")


def convert_voc(folder: str | Path, split: str) -> tuple[Json, Path]:
    """Read a Pascal VOC set.

    Args:
        folder: with Annotations, JPEGImages and ImageSets/Main/SPLIT.txt; or with a folder SPLIT
            that holds images and XML files side by side.

    Returns:
        The content of a COCO JSON file, and the folder of the images. The classes are those of all
        XML files in ``folder``, sorted, so that every split has the same.

    Raises:
        DataError: a file or folder is missing, or an XML file or image cannot be read.
    """
    root = Path(folder)
    images, annotations, members = _folders(root, split)
    objects = {path: read_objects(path) for path in sorted(root.rglob("*.xml"))}
    classes = sorted({name for entries in objects.values() for name, _ in entries})
    if not classes:
        raise DataError(f"{root}: no XML file with an object")
    files = {path.stem: path for path in image_files(images)}
    lacking = sorted((members or set()) - files.keys())
    if lacking:
        raise DataError(
            f"{images}: {len(lacking)} images of the split are missing, as {lacking[0]}"
        )
    taken = {
        path: objects.get(annotations / f"{path.stem}.xml", [])
        for path in files.values()
        if members is None or path.stem in members
    }
    return as_coco(taken, classes), images


def _folders(root: Path, split: str) -> tuple[Path, Path, set[str] | None]:
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


def read_objects(path: Path) -> Objects:
    """Return class names and boxes, xyxy in pixels from 0, of an XML file.

    Raises:
        DataError: it is not readable as XML, or an object lacks its name or a corner.
    """
    require_regular_file(path, 100 * MIB)
    try:
        entries = list(ElementTree.parse(path).getroot().iter("object"))
    except ElementTree.ParseError as error:
        raise DataError(f"{path} is not readable as XML: {error}") from error
    objects = []
    for entry in entries:
        name = (entry.findtext("name") or "").strip()
        corners = [_number(entry.findtext(f"bndbox/{corner}")) for corner in CORNERS]
        if not name or not all(map(math.isfinite, corners)):
            raise DataError(f"{path}: an object has no name, or no bndbox of four numbers")
        x1, y1, x2, y2 = corners
        objects.append((name, (x1 - 1, y1 - 1, x2, y2)))
    return objects


def _number(text: str | None) -> float:
    """Return the number that a text says, else NaN."""
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan
