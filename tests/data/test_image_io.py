"""Images are read as detectron2 reads them, whatever they are given as."""

import io
from pathlib import Path

import numpy as np
import pytest
from detectron2.data.detection_utils import read_image
from PIL import Image, ImageFile

from stageinteractor.data.image_io import load_image
from stageinteractor.errors import DataError


def pattern() -> Image.Image:
    rows, columns = np.mgrid[:24, :36]
    return Image.fromarray(np.stack([rows * 9, columns * 6, rows * 3], -1).astype(np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_that_of_detectron2(tmp_path: Path, orientation: int):
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / "turned.png"
    pattern().save(path, exif=exif)
    expected = read_image(str(path), "RGB")
    assert expected.shape[:2] == ((24, 36) if orientation < 5 else (36, 24))
    with Image.open(path) as image:
        for given in (path, str(path), io.BytesIO(path.read_bytes()), image):
            np.testing.assert_array_equal(np.asarray(load_image(given)), expected)


def test_what_is_no_exif_turns_nothing(tmp_path: Path):
    path = tmp_path / "odd.webp"
    pattern().save(path, exif=b"Exif\0\0FM\0*\0\0\0\x08", lossless=True)
    np.testing.assert_array_equal(np.asarray(load_image(path)), np.asarray(pattern()))


def test_an_array_is_taken_as_it_is():
    array = np.asarray(pattern())
    np.testing.assert_array_equal(np.asarray(load_image(array)), array)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 5, 3), np.float32),
        np.zeros((4, 5), np.uint8),
        np.zeros((3, 4, 5), np.uint8),
        np.zeros((0, 5, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused_with_their_type_and_shape(array: np.ndarray):
    with pytest.raises(DataError, match=r"expected a uint8 RGB array of shape \(H, W, 3\), got"):
        load_image(array)


@pytest.mark.parametrize("kind", [RuntimeError, TypeError])  # AVIF, EXIF
def test_any_error_of_pillow_is_reported(tmp_path: Path, monkeypatch, kind: type[Exception]):
    def fail(image):
        raise kind("odd bytes")

    path = tmp_path / "odd.png"
    pattern().save(path)
    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(DataError, match=r"odd\.png: cannot be read: odd bytes"):
        load_image(path)
