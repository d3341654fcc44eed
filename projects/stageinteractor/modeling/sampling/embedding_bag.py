"""Sampling of flattened features on CPUs: all levels in one pass, with a gradient added in place.

Computes what `reference.sample_levels` does. A point reads four cells of every level. Their
weights, bilinear weight times level weight, are computed first; then torch's embedding bag sums the
4 L weighted rows of every point.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .flattened import Level

CHUNK_POINTS = 512  # in the backward pass: their 4 L rows stay in a core's cache


def sample_rows(
    rows: Tensor, positions: Tensor, weights: Tensor, levels: Sequence[Level]
) -> Tensor:
    """Return (B, N, G, P, Dc), sampled from rows (B, R, D), in their type."""
    # (B*N*G*P, 4 L) both
    cells, corner_weights = bilinear_corners(positions, weights, levels, rows.shape[1])
    groups = positions.shape[2]
    flat = rows.reshape(-1, rows.shape[2] // groups)  # (B*R*G, Dc)
    corner_weights = corner_weights.to(rows.dtype)
    sampled = F.embedding_bag(cells, flat, mode="sum", per_sample_weights=corner_weights)
    return sampled.view(*positions.shape[:-1], flat.shape[1])  # (B, N, G, P, Dc)


def sample_rows_backward(
    grad: Tensor,
    rows: Tensor,
    positions: Tensor,
    weights: Tensor,
    levels: Sequence[Level],
    rows_grad: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Add the gradient of the rows to ``rows_grad``, and return those of positions and weights."""
    with torch.enable_grad():
        points = positions.detach().requires_grad_(), weights.detach().requires_grad_()
        cells, corner_weights = bilinear_corners(*points, levels, rows.shape[1])
    width = grad.shape[-1]
    flat = rows.view(-1, width)  # (B*R*G, Dc)
    flat_grad = None if rows_grad is None else rows_grad.view(-1, width)
    corner_grads = []
    for cell, weight, grad_output in zip(
        cells.split(CHUNK_POINTS),
        corner_weights.detach().split(CHUNK_POINTS),
        grad.view(-1, 1, width).split(CHUNK_POINTS),
        strict=True,
    ):
        cell = cell.flatten().long()  # index_add_ has no fast way for int32
        read = flat.index_select(0, cell).view(*weight.shape, width)  # (points, 4 L, Dc)
        grad_output = grad_output.to(weight.dtype)
        column = grad_output.reshape(-1, width, 1)  # a view of grad_output.mT is a third slower
        corner_grads.append(torch.bmm(read.to(weight.dtype), column).squeeze(-1))
        if flat_grad is not None:
            flat_grad.index_add_(0, cell, (weight.unsqueeze(-1) * grad_output).flatten(0, 1))
    grads = torch.autograd.grad(corner_weights, points, torch.cat(corner_grads))
    return grads[0], grads[1]


def bilinear_corners(
    positions: Tensor, weights: Tensor, levels: Sequence[Level], num_cells: int
) -> tuple[Tensor, Tensor]:
    """Return the cells that every point reads and their weights.

    Args:
        positions: (B, N, G, P, 2), x and y in pixels.
        weights: (B, N, G, P, L).
        levels: of the flattened features.
        num_cells: R.

    Returns:
        Two (B*N*G*P, 4 L), the corners slower than the levels: int32 indices into the rows viewed
        as (B*R*G, Dc), and weights, which are zero for cells outside the map. Positions far
        outside are clamped to just outside.
    """
    images, _, groups, _, _ = positions.shape
    integers: dict[str, Any] = dict(dtype=torch.int32, device=positions.device)
    first = torch.tensor([[level.start_row] for level in levels], **integers)  # (L, 1)
    width = torch.tensor([[level.width] for level in levels], **integers)
    image = torch.arange(images, **integers).view(-1, 1, 1, 1) * (
        num_cells * groups
    )  # (B, 1, 1, 1)
    group = torch.arange(groups, **integers).view(-1, 1)  # (G, 1)
    begin = (image + group).expand(positions.shape[:-1]).flatten()  # (M,), M = B*N*G*P
    x, y = positions.flatten(0, 3).unbind(-1)  # (M,) each
    x_cell, x_weight = _along_axis(x, [(level.width, level.stride) for level in levels])
    y_cell, y_weight = _along_axis(y, [(level.height, level.stride) for level in levels])
    rows = (first + y_cell * width) * groups + begin  # (2, L, M): of the cell at the left end
    cells = rows.unsqueeze(1) + x_cell * groups  # (2, 2, L, M)
    corner_weights = (y_weight * weights.flatten(0, 3).t()).unsqueeze(1) * x_weight  # (2, 2, L, M)
    return cells.flatten(0, 2).t().contiguous(), corner_weights.flatten(0, 2).t().contiguous()


def _along_axis(position: Tensor, levels: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Return the cells before and after positions (M,) along an axis, and their weights: (2, L, M).

    Args:
        position: in pixels.
        levels: cells along the axis and pixels per cell of each of L levels.
    """
    size, stride = position.new_tensor(levels).unsqueeze(-1).unbind(1)  # (L, 1)
    coordinate = (position / stride - 0.5).clamp(size.new_tensor(-2.0), size + 1.0)  # (L, M)
    floor = coordinate.detach().floor()
    fraction = coordinate - floor
    cell = torch.stack([floor, floor + 1.0])  # (2, L, M)
    weight = torch.stack([1.0 - fraction, fraction])  # (2, L, M)
    inside = (cell >= 0) & (cell < size)
    return cell.masked_fill(~inside, 0.0).int(), weight.masked_fill(~inside, 0.0)
