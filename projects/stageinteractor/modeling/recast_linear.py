"""A linear layer that keeps no rounded copy of its weights for the backward pass."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class RecastLinear(nn.Linear):
    """`nn.Linear` that, trained under autocast, rounds its weights again in the backward pass.

    Under autocast the rounded copy of `nn.Linear` lives until the backward pass. That is half of
    the weights' memory, more than what the decoder keeps besides if layers are wide and queries
    few. Results and parameters are those of `nn.Linear`.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return (..., out_features) for an input (..., in_features)."""
        dtype = autocast_dtype(input)
        if dtype is None or not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return super().forward(input)
        result: Tensor = _Recast.apply(input.to(dtype), self.weight, self.bias)
        return result


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """Return the type that autocast rounds x to for a product, None if it leaves x as it is."""
    device = x.device.type
    if x.dtype == torch.float64 or not torch.amp.is_autocast_available(device):
        return None
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


class _Recast(torch.autograd.Function):
    """Linear layer of input (..., I) in half precision, weight (O, I) and bias (O,) or None."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        x_needed, weight_needed, bias_needed = ctx.needs_input_grad
        flat = grad.reshape(-1, grad.shape[-1])  # (rows, O)
        return (
            grad @ weight.to(x.dtype) if x_needed else None,
            (flat.t() @ x.reshape(-1, x.shape[-1])).to(weight.dtype) if weight_needed else None,
            flat.sum(0, dtype=weight.dtype) if bias_needed else None,
        )
