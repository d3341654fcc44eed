"""Check a copy of COCO 2017: that its files are there, with as many images and boxes as COCO has.

The numbers are those of COCO's own files, and are also in the logs of any training on them; COCO
publishes no hashes of the files within its archives. The MD5 sums of the archives are those that
MLPerf's scripts list.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import DataError
from ..json_files import read_json
from .image_store import missing_names

ADVICE = "unpack COCO's annotations again"
CATEGORIES = 80


class Split(NamedTuple):
    """A part of COCO, and what it holds.

    Args:
        annotations: None for a list of images without annotations.
        is_needed: to train and evaluate.
    """

    json: str
    images: str
    num_images: int
    annotations: int | None
    is_needed: bool


SPLITS = (
    Split("annotations/instances_train2017.json", "train2017", 118_287, 860_001, True),
    Split("annotations/instances_val2017.json", "val2017", 5_000, 36_781, True),
    Split("annotations/image_info_test-dev2017.json", "test2017", 20_288, None, False),
)
ARCHIVES = {
    "annotations_trainval2017.zip": "f4bbac642086de4f52a3fdda2de5fa2c",
    "train2017.zip": "cced6f7f71b7629ddf16f17bbcfab6b2",
    "val2017.zip": "442b8da7639aecaf257c1dceb8ba8c80",
}


class Checked(NamedTuple):
    """A line about a part of a copy."""

    text: str
    is_fault: bool = False


def check_coco(folder: str) -> Iterator[Checked]:
    """Yield what is there and what is missing in a copy.

    Args:
        folder: with "annotations", "train2017" and "val2017", and "test2017" for test-dev.
    """
    root = Path(folder)
    if not root.is_dir():
        yield Checked(f"{root}: no such folder; set DETECTRON2_DATASETS to its parent", True)
        return
    for split in SPLITS:
        yield from _check_split(root, split)
    for name, expected in ARCHIVES.items():
        if (root / name).is_file():
            digest = _md5(root / name)
            if digest == expected:
                yield Checked(f"{root / name}: complete")
            else:
                text = f"{root / name}: MD5 {digest}, expected {expected}: download it again"
                yield Checked(text, True)


def _check_split(root: Path, split: Split) -> Iterator[Checked]:
    file, folder = root / split.json, root / split.images
    if not split.is_needed and not file.exists():
        yield Checked(f"{file}: not there; it is needed for submissions only")
        return
    try:
        content = read_json(file, dict, ADVICE)
        names = [str(image["file_name"]) for image in content["images"]]
        boxes, categories = len(content.get("annotations", [])), len(content["categories"])
    except (DataError, KeyError, TypeError) as error:
        text = str(error) if isinstance(error, DataError) else f"{file}: not COCO's; {ADVICE}"
        yield Checked(text, True)
        return
    expected = [(len(names), split.num_images, "images"), (categories, CATEGORIES, "categories")]
    if split.annotations is not None:
        expected.append((boxes, split.annotations, "boxes"))
    for number, right, kind in expected:
        if number != right:
            text = f"{file}: {number:,} {kind}, COCO has {right:,}: cut, edited or another set?"
            yield Checked(text, True)
    missing = missing_names(folder, names)
    if missing:
        text = f"{folder}: {len(missing):,} of {len(names):,} images are missing, such as "
        yield Checked(f"{text}{missing[0]}; unpack {split.images}.zip there", True)
    else:
        parts = ", ".join(f"{number:,} {kind}" for number, _, kind in expected)
        yield Checked(f"{file}: {parts}; all image files are there")


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
