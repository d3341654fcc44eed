"""What makes a tensor of a file unfit to be weights."""

from __future__ import annotations

import torch
from torch import Tensor


def tensor_fault(value: Tensor) -> str | None:
    """Return why weights cannot be taken from a tensor, or None."""
    if value.is_meta:
        return "is without data (on the meta device)"
    if value.layout != torch.strided or value.is_nested or value.is_quantized:
        return "is sparse, nested or quantised"
    if value.is_floating_point() and not value.to(torch.float64).isfinite().all():
        return "has values that are not finite"
    return None
