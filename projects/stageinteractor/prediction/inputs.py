"""What `Predictor` takes for an image, beside what is read everywhere: bytes and tensors."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..data.image_io import ImageSource
from ..errors import DataError

PredictorInput = ImageSource | bytes | bytearray | memoryview | torch.Tensor
TAKEN = (
    "a path, an open file, encoded bytes, a PIL image, a uint8 RGB array (H, W, 3) or tensor "
    "(3, H, W), or a list of these"
)


class InputTypeError(DataError, TypeError):
    """An image is given as something that is not taken, or with other values than uint8."""


def as_image(image: PredictorInput) -> ImageSource:
    """Return an image in a form that `load_image` reads.

    Args:
        image: of `TAKEN`, other than a list; a tensor has RGB values from 0 to 255 and may be on
            any device.

    Raises:
        InputTypeError: it is of another type, or a tensor of another type or shape.
    """
    if isinstance(image, torch.Tensor):
        return _as_array(image)
    if isinstance(image, bytes | bytearray | memoryview):
        return io.BytesIO(image)
    if isinstance(image, str | os.PathLike | Image.Image | np.ndarray) or hasattr(image, "read"):
        return image
    raise InputTypeError(f"an image of type {_name_of_type(image)} is not taken; give {TAKEN}")


def check_batch(images: Any) -> None:
    """Raise an InputTypeError for one image where several are expected."""
    if not isinstance(images, list | tuple):
        raise InputTypeError(f"a batch is a list of images, got {_name_of_type(images)}")


def _as_array(tensor: torch.Tensor) -> np.ndarray:
    if tensor.dtype != torch.uint8 or tensor.ndim != 3 or tensor.shape[0] != 3:
        raise InputTypeError(
            f"expected a uint8 RGB tensor of shape (3, H, W) with values from 0 to 255, got "
            f"{str(tensor.dtype).removeprefix('torch.')} of {tuple(tensor.shape)}"
        )
    return tensor.permute(1, 2, 0).cpu().numpy()  # (H, W, 3)


def _name_of_type(value: object) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
