"""How features are sampled: flattened on CPUs and, by Triton, on GPUs; by the reference elsewhere.

`as_table` chooses the form of the features once for all stages; `sample` reads either form. All of
them compute what `reference.sample_levels` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import triton
from .flattened import FeatureTable, Level, build_table
from .reference import sample_levels
from .table import sample_rows, sample_rows_backward

Features = Sequence[Tensor] | FeatureTable  # of all levels: L maps (B, D, H_l, W_l) or one table


def as_table(maps: Sequence[Tensor], dtype: torch.dtype) -> FeatureTable | None:
    """Return L maps (B, D, H_l, W_l) as a table, if there is a fast sampling for them.

    The table is of type ``dtype``, that of the positions it is sampled at. Under `torch.compile`
    and export there is none: the plain sampling can be traced, and runs wherever torch does.
    """
    if torch.compiler.is_compiling():
        return None
    if maps[0].device.type != "cpu" and not triton.is_available(maps[0]):
        return None
    return build_table(maps, dtype)


def sample(
    features: Features, positions: Tensor, weights: Tensor, strides: Sequence[int]
) -> tuple[Tensor, Features]:
    """Sample maps or a table as `sample_levels` does; return what to sample from next, too."""
    if isinstance(features, FeatureTable):
        return sample_table(features, positions, weights, strides)
    return sample_levels(features, positions, weights, strides), features


def sample_table(
    table: FeatureTable, positions: Tensor, weights: Tensor, strides: Sequence[int]
) -> tuple[Tensor, FeatureTable]:
    """Sample all levels of a table bilinearly (zero outside) and add them up by weight.

    Args:
        table: of B images.
        positions: (B, N, G, P, 2), x and y in pixels of the padded image.
        weights: (B, N, G, P, L).
        strides: pixels per cell of each level.

    Returns:
        (B, N, G, P, Dc) in the type of ``positions``, and the table to sample from next: whoever
        samples the same table twice spares a large sum of gradients by using it.
    """
    sampled, rows = _Sampling.apply(
        table.rows, positions.contiguous(), weights.contiguous(), table.levels(strides)
    )
    return sampled, table._replace(rows=rows)


class _Sampling(torch.autograd.Function):
    """(rows, positions, weights, levels) -> (sampled, the same rows)."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, positions: Tensor, weights: Tensor, levels: tuple[Level, ...]
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(rows, positions, weights)
        ctx.levels = levels
        sample = triton.sample if triton.is_available(rows) else sample_rows
        return sample(rows, positions, weights, levels), rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None, rows_grad: Tensor | None) -> tuple[Any, ...]:
        if grad is None:
            return rows_grad, None, None, None
        rows, positions, weights = ctx.saved_tensors
        if not ctx.needs_input_grad[0]:
            rows_grad = None
        elif rows_grad is None:  # the last one to have sampled makes the buffer
            rows_grad = torch.zeros_like(rows)
        use_triton = triton.is_available(rows)
        backward = triton.sample_backward if use_triton else sample_rows_backward
        points = backward(grad.contiguous(), rows, positions, weights, ctx.levels, rows_grad)
        return rows_grad, *points, None
