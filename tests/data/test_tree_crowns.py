"""Aerial photographs cut into tiles; the package they come from is faked, nothing is downloaded."""

import hashlib
import io
import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stageinteractor.data import tree_crowns
from stageinteractor.data.coco_format import read_coco
from stageinteractor.data.tree_crowns import cut_boxes, make_tree_crowns, tile_corners
from stageinteractor.errors import DataError

HEADER = "image_path,xmin,ymin,xmax,ymax,label\n"


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put another function in the place of running pip."""

    def install(function: Any) -> None:
        monkeypatch.setattr(subprocess, "run", function)

    return install


# Tables, tiles and boxes


@pytest.mark.parametrize("size", [(400, 400), (1093, 617), (200, 999)])
@pytest.mark.parametrize("stride", [100, 200])
def test_tiles_cover_the_image_and_stay_inside(size: tuple[int, int], stride: int):
    covered = np.zeros(size[::-1], dtype=bool)
    for left, top in tile_corners(size, stride):
        assert 0 <= left <= size[0] - 200 and 0 <= top <= size[1] - 200
        covered[top : top + 200, left : left + 200] = True
    assert covered.all()


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((110, 220, 130, 250), [[10, 20, 20, 30]]),  # inside
        ((90, 210, 110, 220), [[0, 10, 10, 10]]),  # half of it, on the left
        ((89, 210, 110, 220), []),  # a little less than half
        ((290, 390, 305, 403), [[190, 190, 10, 10]]),  # 100 of 195 at the lower right
        ((290, 390, 310, 410), []),  # a quarter at the lower right
        ((0, 210, 100, 220), []),  # touches the edge
        ((0, 0, 50, 50), []),
        ((0, 200, 400, 400), [[0, 0, 200, 200]]),  # exactly half of a wide one
        ((100, 200, 300, 400), [[0, 0, 200, 200]]),  # the tile itself
    ],
)
def test_cut_boxes_at_the_tile_100_200(
    box: tuple[float, float, float, float], expected: list[list[float]]
):
    assert cut_boxes([box], left=100, top=200) == expected


# The package


def test_failing_download_is_reported_in_one_line(tmp_path: Path, answer: Any):
    stderr = "WARNING: retrying\nERROR: No matching distribution found\n"
    answer(lambda command, **_: subprocess.CompletedProcess(command, 1, "", stderr))
    with pytest.raises(DataError) as caught:
        make_tree_crowns(tmp_path / "crowns")
    expected = "pip cannot download deepforest==2.1.0: ERROR: No matching distribution found"
    assert str(caught.value) == expected
    assert list(tmp_path.iterdir()) == []


def test_other_package_than_expected_is_not_used(tmp_path: Path, answer: Any):
    def download(command: list[str], **_: Any) -> Any:
        folder = Path(command[command.index("--dest") + 1])
        (folder / "deepforest-2.1.0-py3-none-any.whl").write_bytes(b"something else")
        return subprocess.CompletedProcess(command, 0, "", "")

    answer(download)
    with pytest.raises(DataError, match=r"deepforest-2\.1\.0.*\.whl: its sha256 is not"):
        make_tree_crowns(tmp_path / "crowns")
    assert list(tmp_path.iterdir()) == []


def test_existing_folder_is_kept(tmp_path: Path, answer: Any):
    answer(lambda *_, **__: pytest.fail("pip was run"))
    assert make_tree_crowns(tmp_path) is False
    assert list(tmp_path.iterdir()) == []


def fake_wheel() -> bytes:
    """A package with one photograph of 300x200 for each table; the blue channel tells which."""
    tables = {"OSBS_029.csv": "one.tif", "example.csv": "two.tif", "testfile_multi.csv": "val.tif"}
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for number, (table, name) in enumerate(tables.items()):
            row = f"{name},210,20,240,60,Tree\n"
            archive.writestr(f"deepforest/data/{table}", HEADER + row)
            pixels = np.zeros((200, 300, 3), dtype=np.uint8)
            pixels[20:60, 210:240, 0] = 255
            pixels[..., 2] = number
            photo = io.BytesIO()
            Image.fromarray(pixels).save(photo, "TIFF")
            archive.writestr(f"deepforest/data/{name}", photo.getvalue())
    return memory.getvalue()


def test_tiles_and_boxes_of_a_whole_set(
    tmp_path: Path, answer: Any, monkeypatch: pytest.MonkeyPatch
):
    data = fake_wheel()

    def download(command: list[str], **_: Any) -> Any:
        assert command[-1] == "deepforest==2.1.0"
        Path(command[command.index("--dest") + 1], "deepforest.whl").write_bytes(data)
        return subprocess.CompletedProcess(command, 0, "", "")

    answer(download)
    monkeypatch.setattr(tree_crowns, "SHA256", hashlib.sha256(data).hexdigest())
    folder = tmp_path / "crowns"
    assert make_tree_crowns(folder) is True
    for split, sources in (("train", {"one": 0, "two": 1}), ("val", {"val": 2})):
        coco_set = read_coco(folder / f"{split}.json")
        names = [image["file_name"] for image in coco_set.images]
        assert names == [f"{name}_{left}_0.png" for name in sources for left in (0, 100)]
        assert sorted(path.name for path in (folder / split).iterdir()) == sorted(names)
        assert coco_set.class_names == ["tree"]
        # The crown lies in the second tile of each photograph, 110 pixels from its left edge.
        assert [a["bbox"] for a in coco_set.annotations] == [[110, 20, 30, 40]] * len(sources)
        assert [a["image_id"] for a in coco_set.annotations] == list(
            range(2, 2 * len(sources) + 1, 2)
        )
        for name, number in sources.items():
            with Image.open(folder / split / f"{name}_100_0.png") as tile:
                assert tile.size == (200, 200)
                assert tile.getpixel((110, 20)) == (255, 0, number)
                assert tile.getpixel((109, 20)) == (0, 0, number)
    assert json.loads((folder / "val.json").read_text())["annotations"][0]["area"] == 1200
