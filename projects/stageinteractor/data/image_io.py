"""Read one image, however it is given, as an upright RGB image.

Training, evaluation, prediction and the data checks all read images here. Files are untrusted: the
bytes decide the format, not the name; only `FORMATS` are opened, because some of Pillow's other
formats start programs; only regular files of at most `MAX_BYTES` are read; and an image of more
than `MAX_PIXELS` is refused before memory is allocated for it.
"""

from __future__ import annotations

import io
import os
import warnings
from functools import cache
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import DataError
from ..regular_files import GIB, UnsuitableFileError, require_regular_file
from ..stored_bytes import is_local_file, read_bytes

ImageSource = str | os.PathLike[str] | BinaryIO | Image.Image | np.ndarray

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "JPEG2000", "AVIF", "GIF", "PPM")
MAX_PIXELS = 100_000_000  # 10,000 x 10,000; reading it takes about 1 GB for a moment
MAX_BYTES = GIB  # of a file: MAX_PIXELS uncompressed with 16 bits have 0.8 GB
EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N")
BITS_PER_SAMPLE = 258  # of TIFF's tags


class ImageReadError(DataError):
    """An image cannot be read."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.reason = reason


def load_image(source: ImageSource) -> Image.Image:
    """Return an image in RGB, turned as its EXIF orientation says.

    An animation gives its first frame; transparency is dropped; of 16 bits the upper 8 are
    kept. Otherwise the pixels are those of detectron2's reader, which clips 16 bits to white and
    turns a TIFF twice.

    Args:
        source: path, URL (`stored_bytes`), open file, PIL image, or uint8 RGB array (H, W, 3).

    Raises:
        DataError: the file cannot be read, is of another kind than `FORMATS`, has more than
            `MAX_PIXELS` or pixels of another mode; or the array has another type or shape.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        if refusal := _refusal(source):
            raise ImageReadError(name_of(source), refusal)
        return _upright_rgb(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd metadata
        return read_image(source)


def read_image(file: str | os.PathLike[str] | BinaryIO) -> Image.Image:
    """Return the image of a file as `load_image` does; Pillow's warnings are let through.

    Raises:
        ImageReadError: as `load_image`.
    """
    name = name_of(file)
    try:
        with open_image(file) as image:
            return _upright_rgb(image)
    except ImageReadError as error:
        raise ImageReadError(name, error.reason) from None
    except Exception as error:  # Pillow raises whatever the bytes lead it to
        raise ImageReadError(name, reason_of(error).removeprefix(f"{name}: ")) from error


def open_image(file: str | os.PathLike[str] | BinaryIO) -> Image.Image:
    """Open an image file of one of the kinds that are read, without decoding its pixels.

    Raises:
        ImageReadError: too many pixels, or of a mode whose range or colours are not known.
        UnsuitableFileError: no regular file, or too large.
        Exception: whatever the file's bytes lead Pillow to; see `reason_of`.
    """
    if isinstance(file, str | os.PathLike):
        if is_local_file(file):
            require_regular_file(file, MAX_BYTES)
        else:
            file = io.BytesIO(read_bytes(file, MAX_BYTES))
    image = Image.open(file, formats=_formats())
    refusal = _refusal(image)
    if refusal is None:
        return image
    image.close()
    raise ImageReadError(name_of(file), refusal)


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)  # not every Pillow has all


def _refusal(image: Image.Image) -> str | None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        return f"{width} x {height} pixels are more than {MAX_PIXELS:,}; cut it into tiles"
    if image.mode not in EIGHT_BIT and not _is_16_bit(image):
        return f"pixels of mode {image.mode} are not read; save it in RGB or grey, 8 or 16 bits"
    return None


def reason_of(error: Exception) -> str:
    """Return in one line why an image could not be read."""
    if isinstance(error, ImageReadError | UnsuitableFileError):
        return error.reason
    if isinstance(error, DataError):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, UnidentifiedImageError):
        return "cannot be read: not an image of a known kind"
    text = " ".join(str(error).split()).split(" <_io")[0]
    return f"cannot be read: {text or type(error).__name__}"


def as_array(image: Image.Image, image_format: str) -> np.ndarray:
    """Return the pixels (H, W, channels) of an RGB image in one of detectron2's formats."""
    if image_format in ("RGB", "BGR"):
        pixels = np.asarray(image)
        return pixels if image_format == "RGB" else pixels[:, :, ::-1]
    from detectron2.data.detection_utils import convert_PIL_to_numpy

    return convert_PIL_to_numpy(image, image_format)


def name_of(source: ImageSource) -> str:
    """Return the name of an image for a message."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    return str(getattr(source, "name", "image"))


def _is_16_bit(image: Image.Image) -> bool:
    return image.mode in SIXTEEN_BIT or (image.mode == "I" and image.format in ("PNG", "PPM"))


def _upright_rgb(image: Image.Image) -> Image.Image:
    from detectron2.data.detection_utils import _apply_exif_orientation

    image.load()  # Pillow turns a TIFF here, and then forgets its orientation
    upright = _apply_exif_orientation(image)  # what is no EXIF turns nothing
    if _is_16_bit(image):
        upright = Image.fromarray((np.asarray(upright) >> _lower_bits(image)).astype(np.uint8))
    return upright.convert("RGB")


def _lower_bits(image: Image.Image) -> int:
    """Return how many bits of an image with more than 8 of them are dropped."""
    tags = getattr(image, "tag_v2", {})  # a TIFF may have 12
    return int(tags.get(BITS_PER_SAMPLE, (16,))[0]) - 8


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise DataError(
            f"expected a uint8 RGB array of shape (H, W, 3), got {array.dtype} of {array.shape}"
        )
    return Image.fromarray(array)
