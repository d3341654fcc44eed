"""Static mixing: channels and points mixed by weights that all queries and channel groups share.

In: features (M, P, Dc), M = B N G. Out: what is added to the sampled features before they are mixed
with the next reused filter. Paper: section 3.3; the two linear layers as in the published code.
For the backward pass only the features are kept, not the copy of them that one layer multiplies.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class StaticMixingType(Protocol):
    """A class of modules that map features (M, P, Dc) to what is added to them, (M, P, Dc)."""

    def __call__(self, *, width: int, point_groups: int, points_per_group: int) -> nn.Module:
        """Build the module; arguments as in `StaticMixing`."""


def zero_linear(width: int) -> nn.Linear:
    """Return a square linear layer that starts at zero."""
    layer = nn.Linear(width, width)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class StaticMixing(nn.Module):
    """Mix the points of a group with their channels, and equal points of all groups with theirs.

    Args:
        width: Dc.
        point_groups: K.
        points_per_group: J.
    """

    def __init__(self, *, width: int, point_groups: int, points_per_group: int) -> None:
        super().__init__()
        self.shape = point_groups, points_per_group, width
        self.within_group = zero_linear(points_per_group * width)
        self.across_groups = zero_linear(point_groups * width)

    def forward(self, h: Tensor) -> Tensor:
        """Return the sum of both branches (M, P, Dc) of features (M, P, Dc), P = K J, k-major."""
        grid: Tensor = h.unflatten(1, self.shape[:2])  # (M, K, J, Dc)
        within, across = self.within_group, self.across_groups
        mixed: Tensor
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            grid = grid.to(_product_dtype(grid))
            mixed = _Mix.apply(grid, within.weight, within.bias, across.weight, across.bias)
        else:
            mixed = within(grid.flatten(2)).view_as(grid)
            mixed = mixed + _split_groups(across(_join_groups(grid)), grid)
        return mixed.flatten(1, 2)  # (M, P, Dc)


class _Mix(torch.autograd.Function):
    """Sum of both branches (M, K, J, Dc) of features (M, K, J, Dc); keeps them and the weights."""

    @staticmethod
    def forward(
        ctx: Any,
        grid: Tensor,
        within_weight: Tensor,
        within_bias: Tensor,
        across_weight: Tensor,
        across_bias: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(grid, within_weight, across_weight)
        parameters = within_weight, within_bias, across_weight, across_bias
        weight, bias, weight_across, bias_across = (x.to(grid.dtype) for x in parameters)
        mixed = F.linear(grid.flatten(2), weight, bias).view_as(grid)
        across = F.linear(_join_groups(grid), weight_across, bias_across)
        return mixed.add_(_split_groups(across, grid))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grid, within_weight, across_weight = ctx.saved_tensors
        within_grad = (grad.flatten(2) @ within_weight.to(grad.dtype)).view_as(grid)
        rows_grad = _join_groups(grad)  # (M, J, K Dc)
        across_grad = rows_grad @ across_weight.to(grad.dtype)
        return (
            within_grad.add_(_split_groups(across_grad, grid)),
            *_parameter_gradients(grid.flatten(2), grad.flatten(2), within_weight),
            *_parameter_gradients(_join_groups(grid), rows_grad, across_weight),
        )


def _parameter_gradients(x: Tensor, grad: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of weight and bias of a linear layer of x (..., I), given (..., O)."""
    x, grad = x.flatten(0, -2), grad.flatten(0, -2)
    return (grad.t() @ x).to(weight.dtype), grad.sum(0, dtype=weight.dtype)


def _join_groups(grid: Tensor) -> Tensor:
    """Return (M, J, K Dc), the points of equal place in all groups, of (M, K, J, Dc): a copy."""
    return grid.transpose(1, 2).flatten(2)


def _split_groups(rows: Tensor, grid: Tensor) -> Tensor:
    """Return (M, K, J, Dc), the inverse of `_join_groups`, with the shape of ``grid``."""
    return rows.view(grid.transpose(1, 2).shape).transpose(1, 2)


def _product_dtype(x: Tensor) -> torch.dtype:
    """Return the type in which a linear layer multiplies x: under autocast another than its own."""
    device = x.device.type
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if autocast else x.dtype
