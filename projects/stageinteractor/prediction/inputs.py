"""The types of image that `Predictor` takes beyond those of `load_image`: bytes and tensors."""

from __future__ import annotations

import io
import os

import numpy as np
import torch
from PIL import Image

from ..data.image_io import ImageSource
from ..errors import DataError

PredictorInput = ImageSource | bytes | bytearray | memoryview | torch.Tensor
ACCEPTED = (
    "a path, an open file, encoded bytes, a PIL image, a uint8 RGB array (H, W, 3) or tensor "
    "(3, H, W), or a list of these"
)


class InputTypeError(DataError, TypeError):
    """An image is of an unsupported type, or a tensor is not uint8 of shape (3, H, W)."""


def to_image_source(image: PredictorInput) -> ImageSource:
    """Convert bytes to an open file and a tensor to an array; return other images as they are.

    Args:
        image: one of `ACCEPTED`, other than a list; a tensor has RGB values from 0 to 255 and may
            be on any device.

    Raises:
        InputTypeError: it is of another type, or a tensor of another dtype or shape.
    """
    if isinstance(image, torch.Tensor):
        return _to_array(image)
    if isinstance(image, bytes | bytearray | memoryview):
        return io.BytesIO(image)
    if isinstance(image, str | os.PathLike | Image.Image | np.ndarray) or hasattr(image, "read"):
        return image
    raise InputTypeError(f"expected {ACCEPTED}; got {_type_name(image)}")


def check_batch(images: object) -> None:
    """Raise an InputTypeError for a single image where a list is expected."""
    if not isinstance(images, list | tuple):
        raise InputTypeError(f"expected a list of images, got {_type_name(images)}")


def _to_array(tensor: torch.Tensor) -> np.ndarray:
    if tensor.dtype != torch.uint8 or tensor.ndim != 3 or tensor.shape[0] != 3:
        raise InputTypeError(
            f"expected a uint8 RGB tensor of shape (3, H, W) with values from 0 to 255, got "
            f"{str(tensor.dtype).removeprefix('torch.')} of {tuple(tensor.shape)}"
        )
    return tensor.permute(1, 2, 0).cpu().numpy()  # (H, W, 3)


def _type_name(value: object) -> str:
    cls = type(value)
    return cls.__name__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__name__}"
