"""What makes a tensor of a file unfit to be weights."""

from __future__ import annotations

import torch
from torch import Tensor


def storage_problem(value: Tensor) -> str | None:
    """Return why the values of a tensor are not plain numbers in memory, or None."""
    if value.is_meta:
        return "is without data (on the meta device)"
    if value.is_nested:
        return "is a nested tensor"
    if value.layout != torch.strided:
        return f"is a {str(value.layout).removeprefix('torch.')} tensor"
    return "is a quantised tensor" if value.is_quantized else None


def tensor_problem(value: Tensor) -> str | None:
    """Return why weights cannot be taken from a tensor, or None."""
    if fault := storage_problem(value):
        return fault
    if value.is_floating_point() and not value.to(torch.float64).isfinite().all():
        return "has values that are not finite"
    return None
