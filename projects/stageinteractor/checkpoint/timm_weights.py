"""A timm model with all its weights from a file.

timm by itself only logs a warning if weights of a model without its classifier do not fit.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..errors import DataError, first_lines
from .weight_files import Weights, read_tensors


def create_with_weights(name: str, path: str | os.PathLike[str], **options: Any) -> Any:
    """Return ``timm.create_model(name, **options)`` with the weights of a file.

    timm converts names and layouts of older files.

    Args:
        path: a ``.safetensors`` file or one of ``torch.save``.

    Raises:
        DataError: the file is invalid, or does not hold all weights of the model.
    """
    weights = read_tensors(path)
    missing, total = _missing_tensors(name, path, weights, options)
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of the {total} tensors of timm's {name} are missing, such as "
            f"{missing[0]}"
        )
    return _create(name, path, weights, options)


def _missing_tensors(
    name: str, path: str | os.PathLike[str], weights: Weights, options: dict[str, Any]
) -> tuple[list[str], int]:
    """Return the names of tensors that timm would not load, and the number of all.

    With all values replaced by NaN, every loaded tensor becomes NaN, whatever its new name is.
    """
    with torch.random.fork_rng(devices=[]):  # keeps later initialisations reproducible
        loaded = _create(name, path, {k: _as_nan(v) for k, v in weights.items()}, options)
    values = {k: v for k, v in loaded.state_dict().items() if v.is_floating_point()}
    return [k for k, v in values.items() if not v.isnan().all()], len(values)


def _as_nan(value: Tensor) -> Tensor:
    return torch.full_like(value, torch.nan) if value.is_floating_point() else value


def _create(
    name: str, path: str | os.PathLike[str], weights: Weights, options: dict[str, Any]
) -> Any:
    import timm

    overlay = {"state_dict": dict(weights), "custom_load": False}
    try:
        with _without_warnings():
            return timm.create_model(
                name, pretrained=True, pretrained_cfg_overlay=overlay, **options
            )
    except Exception as error:  # timm raises many classes for tensors that do not fit
        reason = first_lines(error)
        raise DataError(f"{path}: not the weights of timm's {name}: {reason}") from error


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Switch off timm's warnings about weights of the classifier in the file."""
    logger = logging.getLogger("timm")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
