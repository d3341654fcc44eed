"""A timm model with the weights of a file: all of them, or an error.

timm itself drops what does not fit a model without its classifier, and says so in a log message.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import timm
import torch
from torch import Tensor

from ..errors import DataError
from .weight_files import Weights, read_tensors


def create_with_weights(name: str, path: str | os.PathLike[str], **options: Any) -> Any:
    """Return ``timm.create_model(name, **options)`` with the weights of a file.

    timm brings names and layouts of older files up to date.

    Args:
        name: a timm model name.
        path: ``.safetensors``, or a file of torch's.
        options: of ``timm.create_model``.

    Raises:
        DataError: it is no file of finite tensors, or does not hold all weights of the model.
    """
    weights = read_tensors(path)
    left, total = _left_as_initialised(name, path, weights, options)
    if left:
        raise DataError(
            f"{path}: {len(left)} of the {total} tensors of timm's {name} are not in it, such as "
            f"{left[0]}"
        )
    return _create(name, path, weights, options)


def _left_as_initialised(
    name: str, path: str | os.PathLike[str], weights: Weights, options: dict[str, Any]
) -> tuple[list[str], int]:
    """Return which tensors timm would not load, and of how many.

    It is given NaN in place of all values: what is loaded becomes NaN, whatever it is renamed to.
    """
    with torch.random.fork_rng(devices=[]):  # what is initialised after it is as without it
        loaded = _create(name, path, {k: _as_nan(v) for k, v in weights.items()}, options)
    values = {k: v for k, v in loaded.state_dict().items() if v.is_floating_point()}
    return [k for k, v in values.items() if not v.isnan().all()], len(values)


def _as_nan(value: Tensor) -> Tensor:
    return torch.full_like(value, torch.nan) if value.is_floating_point() else value


def _create(
    name: str, path: str | os.PathLike[str], weights: Weights, options: dict[str, Any]
) -> Any:
    overlay = {"state_dict": dict(weights), "custom_load": False}
    try:
        with _without_warnings():
            return timm.create_model(
                name, pretrained=True, pretrained_cfg_overlay=overlay, **options
            )
    except Exception as error:  # whatever timm makes of tensors that are others
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not the weights of timm's {name}: {reason}") from error


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Let timm not warn of weights in the file that only a classifier needs."""
    logger = logging.getLogger("timm")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
