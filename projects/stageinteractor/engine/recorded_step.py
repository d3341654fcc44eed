"""Read the non-finite step that a training has saved, and check it before it is run again."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..checkpoint.tensor_checks import storage_problem
from ..data.image_io import MAX_PIXELS
from ..errors import DataError
from .non_finite_step import Batch, model_batch
from .precision import PRECISIONS
from .weights import read_checkpoint

COUNTS = ("iteration", "micro", "rank", "seed")
KEYS = ("model", "batch", *COUNTS, "amp")


class RecordedStep(NamedTuple):
    """A training step with everything that is needed to run it again.

    Args:
        model: weights by name.
        batch: input of the model.
        iteration: of the training.
        micro: index of the accumulated batch.
        rank: of the process.
        seed: of the training.
        amp: key of `PRECISIONS`.
    """

    model: dict[str, Tensor]
    batch: Batch
    iteration: int
    micro: int
    rank: int
    seed: int
    amp: str


def read_recorded_step(path: str | os.PathLike[str]) -> RecordedStep:
    """Read a ``non_finite_*.pth``.

    Raises:
        DataError: the file is not a recorded step; the message names the entry.
    """
    content = read_checkpoint(path)
    missing = [name for name in KEYS if name not in content]
    fault = f"lacks {', '.join(missing)}" if missing else _fault(content)
    if fault:
        raise DataError(f"{path}: {fault}: give a non_finite_*.pth that a training has saved")
    values = {name: content[name] for name in KEYS if name != "batch"}
    return RecordedStep(batch=model_batch(content["batch"]), **values)


def _fault(content: Mapping[str, Any]) -> str:
    """Describe the first entry that cannot be used; an empty string if all can."""
    for name in COUNTS:
        if not _is_count(content[name]):
            return f"{name} is not a number from 0"
    if content["amp"] not in list(PRECISIONS):
        return f"amp is not one of {', '.join(PRECISIONS)}"
    weights, batch = content["model"], content["batch"]
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
        return "model is not a dict of tensors by name"
    for name, value in weights.items():
        if not _is_dense(value):
            return f"{name} of model is not a tensor with values"
    if not isinstance(batch, list) or not batch:
        return "batch is not a list of images"
    for index, item in enumerate(batch):
        if not _is_image(item):
            return f"image {index} of batch has no pixels (3, H, W) with gt_boxes and gt_classes"
    return ""


def _is_image(item: Any) -> bool:
    """Return whether `model_batch` rebuilds an image with boxes and classes from an entry."""
    try:
        (rebuilt,) = model_batch([item])
        image, instances = rebuilt["image"], rebuilt["instances"]
        boxes, classes = instances.gt_boxes.tensor, instances.gt_classes
        return (
            _is_dense(image)
            and image.dim() == 3
            and len(image) == 3
            and 0 < math.prod(image.shape[1:]) <= MAX_PIXELS
            and instances.image_size == tuple(image.shape[1:])
            and bool(boxes.isfinite().all())
            and classes.dtype == torch.int64
            and not (classes < 0).any()
        )
    except Exception:  # an entry of another layout can raise any error
        return False


def _is_dense(value: Any) -> bool:
    """Return whether a value is a tensor of the ordinary layout, with real values."""
    return isinstance(value, Tensor) and not (storage_problem(value) or value.is_complex())


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
