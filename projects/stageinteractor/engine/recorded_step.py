"""Read the step that a training left when a loss was not finite, and check it before it is run."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor

from ..checkpoint.tensor_checks import storage_problem
from ..data.image_io import MAX_PIXELS
from ..errors import DataError
from .non_finite_step import Batch, model_batch
from .trainer import PRECISIONS
from .weights import read_checkpoint

COUNTS = ("iteration", "micro", "rank", "seed")
NEEDED = ("model", "batch", *COUNTS, "amp")


class RecordedStep(NamedTuple):
    """A step as it can be run again."""

    model: dict[str, Tensor]  # weights
    batch: Batch
    iteration: int
    micro: int  # of the accumulated batches
    rank: int
    seed: int
    amp: str  # key of PRECISIONS


def read_recorded_step(path: str | os.PathLike[str]) -> RecordedStep:
    """Read a ``non_finite_*.pth``.

    Raises:
        DataError: the file is no such file.
    """
    content = read_checkpoint(path)
    missing = [name for name in NEEDED if name not in content]
    fault = f"lacks {', '.join(missing)}" if missing else _fault(content)
    if fault:
        raise DataError(f"{path}: {fault}: give a non_finite_*.pth that a training left")
    values = {name: content[name] for name in NEEDED if name != "batch"}
    return RecordedStep(batch=model_batch(content["batch"]), **values)


def _fault(content: Mapping[str, Any]) -> str:
    """Say what is wrong with an entry; nothing if all are usable."""
    for name in COUNTS:
        if not _is_count(content[name]):
            return f"{name} is {_show(content[name])}, not a number from 0"
    if not isinstance(content["amp"], str) or content["amp"] not in PRECISIONS:
        return f"amp is {_show(content['amp'])}, not one of {', '.join(PRECISIONS)}"
    weights = content["model"]
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
        return "model is not a dict of tensors by name"
    for name, value in weights.items():
        if not _is_dense(value):
            return f"{name} of model is not a tensor with values"
    batch = content["batch"]
    if not isinstance(batch, list) or not batch:
        return "batch is not a list of images"
    for index, item in enumerate(batch):
        if fault := _item_fault(item):
            return f"image {index} of batch {fault}"
    return ""


def _item_fault(item: Any) -> str:
    """Say what is wrong with what `plain_batch` gave of an image."""
    if not isinstance(item, dict) or not all(map(_is_plain, item.values())):
        return "is not a dict of tensors, numbers, texts and instances"
    image, instances = item.get("image"), item.get("instances")
    if not _is_dense(image) or image.dim() != 3 or len(image) != 3 or not image.numel():
        return "has no pixels (3, H, W)"
    if math.prod(image.shape[1:]) > MAX_PIXELS:
        return f"has more than {MAX_PIXELS:,} pixels"
    fields = instances["fields"] if isinstance(instances, dict) and "fields" in instances else {}
    boxes, classes = fields.get("gt_boxes"), fields.get("gt_classes")
    if not isinstance(boxes, dict) or not _has_rows(classes, ()):
        return "has no instances with gt_boxes (T, 4) and gt_classes (T,)"
    if not boxes["boxes"].is_floating_point() or not boxes["boxes"].isfinite().all():
        return "has gt_boxes that are not finite numbers"
    if classes.dtype != torch.int64 or (classes < 0).any():
        return "has gt_classes that are not numbers from 0"
    return ""


def _is_plain(value: Any) -> bool:
    """Tell whether `model_batch` can rebuild a value of an image."""
    if isinstance(value, bool | int | float | str) or _is_dense(value):
        return True
    if not isinstance(value, dict):
        return False
    if "boxes" in value:
        return _has_rows(value["boxes"], (4,))
    size, fields = value.get("image_size"), value.get("fields")
    if not isinstance(size, list) or len(size) != 2 or not all(map(_is_count, size)):
        return False
    if not isinstance(fields, dict):
        return False
    tensors = [each.get("boxes") if isinstance(each, dict) else each for each in fields.values()]
    rows = {len(each) if _is_dense(each) and each.dim() else None for each in tensors}
    return None not in rows and len(rows) < 2 and all(map(_is_plain, fields.values()))


def _has_rows(value: Any, row: tuple[int, ...]) -> TypeGuard[Tensor]:
    """Tell whether a value is a tensor (T, *row)."""
    return _is_dense(value) and value.dim() == 1 + len(row) and value.shape[1:] == row


def _is_dense(value: Any) -> TypeGuard[Tensor]:
    """Tell whether a value is a tensor of the ordinary layout, with real values."""
    return isinstance(value, Tensor) and not (storage_problem(value) or value.is_complex())


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _show(value: Any) -> str:
    text = repr(value) if isinstance(value, int | float | str | None) else type(value).__name__
    return text if len(text) < 60 else type(value).__name__
