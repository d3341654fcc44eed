"""Depthwise convolutions in float32 under bfloat16 autocast on CPUs, where bfloat16 is slower."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class _Float32Depthwise(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        # a depthwise filter reads one channel: weight (C, 1, K, K)
        if func is not F.conv2d or len(args) < 2 or args[1].shape[1] != 1 or len(args[1]) == 1:
            return func(*args, **options)
        with torch.autocast("cpu", enabled=False):
            maps = func(args[0].float(), *args[1:], **options)
        return maps.to(torch.get_autocast_dtype("cpu"))


def float32_depthwise(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Return the context in which a backbone computes its feature maps on ``device``.

    Under autocast, in training, on a CPU, ``F.conv2d`` with depthwise filters is computed in
    float32 and returns autocast's dtype: oneDNN's backward pass of strided and of 5x5 depthwise
    convolutions is several times slower in bfloat16 (docs/performance.md). Anywhere else nothing
    changes.
    """
    slow = device.type == "cpu" and torch.is_autocast_enabled("cpu") and torch.is_grad_enabled()
    if slow and not torch.compiler.is_compiling():
        return _Float32Depthwise()
    return contextlib.nullcontext()
