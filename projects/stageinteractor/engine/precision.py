"""The precision of the forward pass: ``train.amp`` in training, else ``train.eval_precision``."""

from __future__ import annotations

import logging
from functools import cache

import torch
from detectron2.utils import comm
from omegaconf import DictConfig

from ..choices import INFERENCE_PRECISIONS
from ..errors import ConfigError
from ..machine.bfloat16 import bfloat16_speedup
from ..machine.matmul import FASTER

logger = logging.getLogger(__name__)
PRECISIONS = {"off": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def precision_name(train: DictConfig) -> str:
    """Return "off", "fp16" or "bf16" for ``train.amp`` on ``train.device``.

    ``dtype="auto"`` is float16 on GPUs, as in detrex, and bfloat16 on CPUs that multiply it faster
    than float32; on others it is "off".

    Raises:
        ConfigError: float16 on a CPU, which has no fast float16 products.
    """
    if not train.amp.enabled:
        return "off"
    on_cpu = str(train.device).startswith("cpu")
    if train.amp.dtype == "auto":
        if on_cpu:
            return "bf16" if _is_fast_on_all_ranks() else "off"
        return "fp16"
    if on_cpu and train.amp.dtype == "fp16":
        raise ConfigError(
            "train.amp.dtype is 'fp16', which is for GPUs: use train.amp.dtype=bf16 on a CPU"
        )
    return str(train.amp.dtype)


@cache
def _is_fast_on_all_ranks() -> bool:
    speedup = bfloat16_speedup()
    logger.info("bfloat16 products are %.1f times as fast as those in float32", speedup)
    return all(comm.all_gather(speedup >= FASTER))


def inference_autocast(
    precision: str, device: str | torch.device, key: str = "precision"
) -> torch.autocast:
    """Return the context in which a model detects objects.

    Linear layers, convolutions and products take this precision. Box arithmetic, sampling
    positions and postprocessing stay float32. Rounded weights are freed after each layer: autocast
    would keep all of them until the end.

    Args:
        precision: "float32", "bf16", or "fp16" on a GPU.
        key: config key or argument, for the message.

    Raises:
        ConfigError: another precision, or float16 on a CPU.
    """
    if precision not in INFERENCE_PRECISIONS:
        raise ConfigError(f"{key} {precision!r}: choose from {', '.join(INFERENCE_PRECISIONS)}")
    device_type = torch.device(device).type
    if device_type == "cpu" and precision == "fp16":
        raise ConfigError(f"{key} 'fp16' is for GPUs: use {key}=bf16 on a CPU")
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    enabled = precision != "float32"
    return torch.autocast(device_type, dtype, enabled=enabled, cache_enabled=False)
