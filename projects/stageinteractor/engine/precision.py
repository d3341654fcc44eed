"""``train.amp``: the precision of the forward pass."""

from __future__ import annotations

import torch
from omegaconf import DictConfig

from ..errors import ConfigError

PRECISIONS = {"off": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def precision_name(train: DictConfig) -> str:
    """Return "off", "fp16" or "bf16" for ``train.amp`` on ``train.device``.

    ``dtype="auto"`` is float16 on GPUs, as in detrex, and bfloat16 on CPUs.

    Raises:
        ConfigError: float16 on a CPU, which has no fast float16 products.
    """
    if not train.amp.enabled:
        return "off"
    on_cpu = str(train.device).startswith("cpu")
    if train.amp.dtype == "auto":
        return "bf16" if on_cpu else "fp16"
    if on_cpu and train.amp.dtype == "fp16":
        raise ConfigError(
            "train.amp.dtype is 'fp16', which is for GPUs: use train.amp.dtype=bf16 on a CPU"
        )
    return str(train.amp.dtype)
