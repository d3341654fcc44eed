"""Multi-scale features flattened into one tensor, which every stage samples in one pass.

A row is one cell of one level with all its channels, so that the channels of a group lie side by
side in memory. The flattened features flow through the stages as a value: each sampling returns
them, and in the backward pass each adds its gradient to the same buffer, instead of allocating a
gradient as large as the maps for every stage and level.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Level(NamedTuple):
    """Where a level lies in the flattened features, and how large it is."""

    start_row: int  # row of its cell (0, 0); cells follow row-major
    height: int
    width: int
    stride: int  # pixels per cell


class FlattenedFeatures(NamedTuple):
    """Feature maps of all levels, cell after cell."""

    rows: Tensor  # (B, R, D), R cells of all levels
    sizes: tuple[tuple[int, int], ...]  # (height, width) of each level

    def levels(self, strides: Sequence[int]) -> tuple[Level, ...]:
        """Return the levels, given the pixels per cell of each.

        Raises:
            ValueError: there are more or fewer strides than levels.
        """
        levels, start_row = [], 0
        for (height, width), stride in zip(self.sizes, strides, strict=True):
            levels.append(Level(start_row, height, width, stride))
            start_row += height * width
        return tuple(levels)


def flatten_maps(maps: Sequence[Tensor], dtype: torch.dtype) -> FlattenedFeatures:
    """Flatten L maps (B, D, H_l, W_l) and convert them to ``dtype``."""
    rows = _Rows.apply(*(feature.to(dtype) for feature in maps))
    return FlattenedFeatures(rows, tuple((x.shape[2], x.shape[3]) for x in maps))


class _Rows(torch.autograd.Function):
    """Maps (B, D, H_l, W_l) -> rows (B, R, D), and back to gradients laid out as the maps are.

    torch's own backward pass returns a view of the rows, which the neck would have to copy entry by
    entry; transposed matrix by matrix here, it takes a third of the time on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, *maps: Tensor) -> Tensor:
        ctx.sizes = [(x.shape[2], x.shape[3]) for x in maps]
        ctx.contiguous = [x.is_contiguous() for x in maps]
        return torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1)  # (B, R, D)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        grads = []
        cells = [height * width for height, width in ctx.sizes]
        for rows, size, contiguous in zip(
            grad.split(cells, dim=1), ctx.sizes, ctx.contiguous, strict=True
        ):
            if contiguous:
                columns = rows.new_empty(rows.shape[0], rows.shape[2], rows.shape[1])  # (B, D, H*W)
                for image, cells_of_image in zip(columns, rows, strict=True):
                    image.copy_(cells_of_image.t())
            else:
                columns = rows.transpose(1, 2)
            grads.append(columns.unflatten(2, size))  # (B, D, H, W)
        return tuple(grads)
