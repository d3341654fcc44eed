"""Reasons why a tensor of a file cannot be used as a weight."""

from __future__ import annotations

import torch
from torch import Tensor


def storage_problem(value: Tensor) -> str | None:
    """Return why a tensor is not dense and in memory, or None."""
    if value.is_meta:
        return "has no data (meta device)"
    if value.is_nested:
        return "is a nested tensor"
    if value.layout != torch.strided:
        return f"is a {str(value.layout).removeprefix('torch.')} tensor"
    return "is a quantized tensor" if value.is_quantized else None


def tensor_problem(value: Tensor) -> str | None:
    """Return why a tensor cannot be used as a weight, or None."""
    if problem := storage_problem(value):
        return problem
    if value.is_floating_point() and not value.to(torch.float64).isfinite().all():
        return "has NaN or inf"
    return None
