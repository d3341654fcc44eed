"""One picture, however it is given, as an upright RGB picture."""

from __future__ import annotations

import os
import warnings
from typing import BinaryIO

import numpy as np
from detectron2.data.detection_utils import _apply_exif_orientation
from PIL import Image, UnidentifiedImageError

from ..errors import DataError

Picture = str | os.PathLike[str] | BinaryIO | Image.Image | np.ndarray


def open_picture(picture: Picture) -> Image.Image:
    """Return a picture in RGB, turned as its EXIF orientation says.

    The pixels are those of detectron2's reader, which however turns a TIFF twice.

    Args:
        picture: path, open file, PIL image, or uint8 RGB array (H, W, 3).

    Raises:
        DataError: the file cannot be read, or the array has another type or shape.
    """
    if isinstance(picture, np.ndarray):
        return _from_array(picture)
    if isinstance(picture, Image.Image):
        return _upright_rgb(picture)
    name = _name(picture)
    try:
        with warnings.catch_warnings(), Image.open(picture) as image:
            warnings.simplefilter("ignore")  # about metadata, and sizes short of Pillow's limit
            return _upright_rgb(image)
    except FileNotFoundError:
        raise DataError(f"{name}: no such file") from None
    except UnidentifiedImageError:
        raise DataError(f"{name}: is not an image of a known kind") from None
    except Exception as error:  # Pillow raises whatever the bytes lead it to
        raise DataError(f"{name}: cannot be read: {' '.join(str(error).split())}") from error


def _name(picture: str | os.PathLike[str] | BinaryIO) -> str:
    if isinstance(picture, str | os.PathLike):
        return os.fspath(picture)
    return str(getattr(picture, "name", "image"))


def _upright_rgb(image: Image.Image) -> Image.Image:
    image.load()  # Pillow turns a TIFF here, and then forgets its orientation
    return _apply_exif_orientation(image).convert("RGB")  # what is no EXIF turns nothing


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise DataError(
            f"expected a uint8 RGB array of shape (H, W, 3), got {array.dtype} of {array.shape}"
        )
    return Image.fromarray(array)
