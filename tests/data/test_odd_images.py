"""Odd image files: training, prediction and the data checks show the same image, or refuse it.

The three readers are tried with every file of `odd_images`.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import odd_images as odd
import pytest
from PIL import Image
from tally import count_fault

from stageinteractor.data.checks.image_files import read_image_file
from stageinteractor.data.image_io import MAX_PIXELS, load_image, read_image
from stageinteractor.data.mapper import DetectionMapper
from stageinteractor.errors import DataError


def predicted(path: Path) -> np.ndarray:
    return np.asarray(load_image(path))


def trained_on(path: Path, height: int = odd.HEIGHT, width: int = odd.WIDTH) -> np.ndarray:
    mapper = DetectionMapper(is_train=False, augmentations=[])
    record = {"file_name": str(path), "image_id": 3, "height": height, "width": width}
    return mapper(record)["image"].permute(1, 2, 0).numpy()


def checked(path: Path) -> tuple[int, int]:
    file = read_image_file(path)
    if file.fault is not None:
        raise DataError(f"{path.name}: {file.fault}")
    return file.height, file.width


@pytest.mark.parametrize("name", odd.FINE)
def test_all_readers_return_the_stored_image(tmp_path: Path, name: str):
    data, shown = odd.FINE[name]()
    path = tmp_path / "image"
    path.write_bytes(data)
    assert checked(path) == shown.shape[:2]
    np.testing.assert_array_equal(predicted(path), shown)
    np.testing.assert_array_equal(trained_on(path, *shown.shape[:2]), shown)


@pytest.mark.parametrize("name", odd.LOSSY)
def test_all_readers_return_nearly_the_stored_image(tmp_path: Path, name: str):
    data, shown = odd.LOSSY[name]()
    path = tmp_path / "image"
    path.write_bytes(data)
    assert checked(path) == shown.shape[:2]
    image = predicted(path)
    assert np.abs(image.astype(int) - shown).max() <= 12
    np.testing.assert_array_equal(trained_on(path), image)


@pytest.mark.parametrize("name", odd.BAD)
def test_all_readers_refuse_a_file_by_its_name(tmp_path: Path, name: str):
    data, reason = odd.BAD[name]()
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    for read in (predicted, trained_on, checked):
        with pytest.raises(DataError) as caught:
            read(path)
        message = str(caught.value)
        assert "photo.png" in message and reason in message and "\n" not in message
        count_fault("bad image")


def test_an_image_too_thin_to_be_resized_is_named(tmp_path: Path):
    from detectron2.data import transforms as T

    path = tmp_path / "line.png"
    Image.new("RGB", (9000, 1)).save(path)
    resize = T.ResizeShortestEdge(short_edge_length=800, max_size=1333)
    mapper = DetectionMapper(is_train=True, augmentations=[resize])
    record = {"file_name": str(path), "image_id": 3, "height": 1, "width": 9000, "annotations": []}
    with pytest.raises(DataError, match=r"line\.png \(image id 3\): its 9000 x 1 pixels cannot be"):
        mapper(record)
    count_fault("bad image")


CHILD = """
import resource, sys
from stageinteractor.data.image_io import read_image
from stageinteractor.errors import DataError
from PIL import Image
Image.init()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        read_image(path)
    except DataError:
        print("refused")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_bombs_are_refused_without_taking_memory(tmp_path: Path):
    paths = []
    for number, make in enumerate(odd.BOMBS.values()):
        paths.append(tmp_path / f"{number}.png")
        paths[-1].write_bytes(make())
        assert paths[-1].stat().st_size < 100_000
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHILD, *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
    )
    *refused, kilobytes = done.stdout.split()
    assert refused == ["refused"] * len(paths)
    assert int(kilobytes) < 50_000, "a bomb took memory before it was refused"


def test_the_largest_image_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from stageinteractor.data import image_io

    assert MAX_PIXELS == 100_000_000
    monkeypatch.setattr(image_io, "MAX_PIXELS", odd.WIDTH * odd.HEIGHT)
    odd.image().save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").size == (odd.WIDTH, odd.HEIGHT)
    Image.new("RGB", (odd.WIDTH + 1, odd.HEIGHT)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"49 x 32 pixels are more than 1,536; cut it into tiles"):
        read_image(tmp_path / "a.png")


def test_images_in_memory_are_refused_like_files():
    with pytest.raises(DataError, match="image: pixels of mode F are not read"):
        load_image(Image.new("F", (4, 4)))
