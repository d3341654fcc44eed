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

    rows: Tensor  # (B, R, D), R cells of all levels; without gradient
    sizes: tuple[tuple[int, int], ...]  # (height, width) of each level
    grad_path: Tensor  # (B, R, D) zeros without memory of their own: the gradient flows here

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


def flatten_maps(
    maps: Sequence[Tensor], dtype: torch.dtype, grad_dtype: torch.dtype | None = None
) -> FlattenedFeatures:
    """Flatten L maps (B, D, H_l, W_l) and convert them to ``dtype``.

    All stages add to one gradient, of type ``grad_dtype``: in half precision, many small terms
    would be lost. By default it is ``dtype``.
    """
    rows, grad_path = _Rows.apply(dtype, grad_dtype or dtype, *maps)
    return FlattenedFeatures(rows, tuple((x.shape[2], x.shape[3]) for x in maps), grad_path)


class _Rows(torch.autograd.Function):
    """Maps (B, D, H_l, W_l) -> rows (B, R, D), and back to gradients laid out as the maps are.

    torch's own backward pass returns a view of the rows, which the neck would have to copy entry by
    entry; transposed matrix by matrix here, it takes a third of the time on a CPU.
    """

    @staticmethod
    def forward(
        ctx: Any, dtype: torch.dtype, grad_dtype: torch.dtype, *maps: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.dtypes = [x.dtype for x in maps]
        ctx.sizes = [(x.shape[2], x.shape[3]) for x in maps]
        ctx.contiguous = [x.is_contiguous() for x in maps]
        cells = [height * width for height, width in ctx.sizes]
        rows = maps[0].new_empty(*maps[0].shape[:1], sum(cells), maps[0].shape[1], dtype=dtype)
        for part, feature in zip(rows.split(cells, dim=1), maps, strict=True):
            for image, columns in zip(part, feature.flatten(2), strict=True):
                image.copy_(columns.t())  # matrix by matrix, as in the backward pass
        ctx.mark_non_differentiable(rows)
        return rows, rows.new_zeros((), dtype=grad_dtype).expand(rows.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Tensor, grad: Tensor) -> tuple[Tensor | None, ...]:
        grads: list[Tensor | None] = [None, None]
        cells = [height * width for height, width in ctx.sizes]
        for rows, dtype, size, contiguous in zip(
            grad.split(cells, dim=1), ctx.dtypes, ctx.sizes, ctx.contiguous, strict=True
        ):
            if contiguous:
                shape = rows.shape[0], rows.shape[2], rows.shape[1]  # (B, D, H*W)
                columns = rows.new_empty(shape)
                for image, cells_of_image in zip(columns, rows, strict=True):
                    image.copy_(cells_of_image.t())
                columns = columns.to(dtype)  # transposed first: to another type, it takes longer
            else:
                columns = rows.to(dtype).transpose(1, 2)
            grads.append(columns.unflatten(2, size))  # (B, D, H, W)
        return tuple(grads)
