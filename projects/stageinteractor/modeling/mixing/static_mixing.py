"""Static mixing: channels and points mixed by weights that all queries and channel groups share.

In: features (M, P, Dc), M = B N G. Out: what is added to the sampled features before they are mixed
with the next reused filter. Paper: section 3.3; the two linear layers as in the published code.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..recast_linear import autocast_dtype

LinearT = TypeVar("LinearT", bound=nn.Linear)


class StaticMixingType(Protocol):
    """A class of modules that map features (M, P, Dc) to what is added to them, (M, P, Dc)."""

    def __call__(self, *, width: int, point_groups: int, points_per_group: int) -> nn.Module:
        """Build the module; arguments as in `StaticMixing`."""


def start_at_zero(layer: LinearT) -> LinearT:
    """Set weights and biases of a linear layer to zero, and return it."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class AcrossGroups(nn.Linear):
    """Linear layer of the channels (K Dc) of points with equal place in all groups.

    For the backward pass it keeps its input, and not the copy of it that is multiplied.

    Args:
        width: K Dc.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, width)

    def forward(self, input: Tensor) -> Tensor:
        """Return (M, K, J, Dc) for features (M, K, J, Dc).

        Joined ones (M, J, K Dc), which a wrapper such as LoRA's passes on, are those of a linear
        layer.
        """
        result: Tensor
        if input.dim() != 4:
            result = super().forward(input)
        elif torch.is_grad_enabled() and not torch.compiler.is_compiling():
            dtype = autocast_dtype(input) or input.dtype
            result = _AcrossGroups.apply(input.to(dtype), self.weight, self.bias)
        else:
            result = _split_groups(super().forward(_join_groups(input)), input)
        return result


class _AcrossGroups(torch.autograd.Function):
    """`AcrossGroups` of features (M, K, J, Dc), weight (K Dc, K Dc) and bias (K Dc,)."""

    @staticmethod
    def forward(ctx: Any, grid: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(grid, weight)
        rows = F.linear(_join_groups(grid), weight.to(grid.dtype), bias.to(grid.dtype))
        return _split_groups(rows, grid)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grid, weight = ctx.saved_tensors
        grid_needed, weight_needed, bias_needed = ctx.needs_input_grad
        rows = _join_groups(grad).flatten(0, 1)  # (M J, K Dc)
        x = _join_groups(grid).flatten(0, 1) if weight_needed else None
        return (
            _split_groups(rows @ weight.to(grad.dtype), grid) if grid_needed else None,
            (rows.t() @ x).to(weight.dtype) if x is not None else None,
            rows.sum(0, dtype=weight.dtype) if bias_needed else None,
        )


def _join_groups(grid: Tensor) -> Tensor:
    """Return (M, J, K Dc), the points of equal place in all groups, of (M, K, J, Dc): a copy."""
    return grid.transpose(1, 2).flatten(2)


def _split_groups(rows: Tensor, grid: Tensor) -> Tensor:
    """Return (M, K, J, Dc), the inverse of `_join_groups`, with the shape of ``grid``."""
    return rows.view(grid.transpose(1, 2).shape).transpose(1, 2)


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
        within = points_per_group * width
        self.within_group = start_at_zero(nn.Linear(within, within))
        self.across_groups = start_at_zero(AcrossGroups(point_groups * width))

    def forward(self, h: Tensor) -> Tensor:
        """Return the sum of both branches (M, P, Dc) of features (M, P, Dc), P = K J, k-major."""
        grid: Tensor = h.unflatten(1, self.shape[:2])  # (M, K, J, Dc)
        within: Tensor = self.within_group(grid.flatten(2)).view_as(grid)
        layer: nn.Module = self.across_groups
        across: Tensor
        if isinstance(layer, AcrossGroups):
            across = layer(grid)
        else:  # a wrapper, or another layer in its place
            across = _split_groups(layer(_join_groups(grid)), grid)
        return (within + across).flatten(1, 2)
