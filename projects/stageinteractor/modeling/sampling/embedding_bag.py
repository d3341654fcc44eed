"""Sampling of flattened features on CPUs: all levels in one pass, with a gradient added in place.

Computes what `reference.sample_levels` does. A point reads four cells of every level. Their
weights, bilinear weight times level weight, are computed first; then torch's embedding bag sums the
4 L weighted rows of every point.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor

from .bilinear_corners import BilinearCorners
from .flattened import Level

CHUNK_POINTS = 512  # in the backward pass: their 4 L rows stay in a core's cache


def sample_rows(
    rows: Tensor, positions: Tensor, weights: Tensor, levels: Sequence[Level]
) -> Tensor:
    """Return (B, N, G, P, Dc), sampled from rows (B, R, D), in their type."""
    corners = BilinearCorners(positions, weights, levels, rows.shape[1])
    groups = positions.shape[2]
    flat = rows.reshape(-1, rows.shape[2] // groups)  # (B*R*G, Dc)
    cells, shares = corners.by_point()
    sampled = F.embedding_bag(cells, flat, mode="sum", per_sample_weights=shares.to(rows.dtype))
    return sampled.view(*positions.shape[:-1], flat.shape[1])  # (B, N, G, P, Dc)


def sample_maps(
    maps: Sequence[Tensor], positions: Tensor, weights: Tensor, strides: Sequence[int]
) -> Tensor:
    """Return (B, N, G, P, Dc), sampled from L maps (B, D, H_l, W_l) that are not flattened.

    With the channels of a cell side by side, they are read where they are; no gradient.
    """
    groups = positions.shape[2]
    levels = [
        Level(0, feature.shape[2], feature.shape[3], stride)
        for feature, stride in zip(maps, strides, strict=True)
    ]
    cells_of_images = [level.height * level.width for level in levels]
    corners = BilinearCorners(positions, weights, levels, cells_of_images)
    cells, shares = corners.by_level()
    sampled = maps[0].new_zeros(())
    for feature, index, share in zip(maps, cells, shares.to(maps[0].dtype), strict=True):
        rows = feature.permute(0, 2, 3, 1).reshape(-1, feature.shape[1] // groups)
        sampled = sampled + F.embedding_bag(index, rows, mode="sum", per_sample_weights=share)
    return sampled.view(*positions.shape[:-1], -1)


def sample_rows_backward(
    grad: Tensor,
    rows: Tensor,
    positions: Tensor,
    weights: Tensor,
    levels: Sequence[Level],
    rows_grad: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Add the gradient of the rows to ``rows_grad``, and return those of positions and weights."""
    corners = BilinearCorners(positions, weights, levels, rows.shape[1])
    cells, shares = corners.by_point()
    width = grad.shape[-1]
    flat = rows.view(-1, width)  # (B*R*G, Dc)
    grad = grad.view(-1, width).to(positions.dtype)  # (M, Dc)
    if rows_grad is not None:
        _add_products(rows_grad.view(-1, width), cells, shares, grad)
    return corners.backward(_products(flat, cells, grad))


def _products(flat: Tensor, cells: Tensor, grad: Tensor) -> Tensor:
    """Return the products (M, 4 L) of every point's gradient (M, Dc) and its cells (M, 4 L)."""
    if _passes_over_all(flat, cells, grad):
        _silence_sparse_notice()
        where = torch.sparse_csr_tensor(
            _starts(cells),
            cells.flatten(),
            grad.new_zeros(cells.numel()),
            (len(cells), len(flat)),
            check_invariants=False,
        )
        columns = flat.to(grad.dtype).t()
        sparse: Tensor = torch.sparse.sampled_addmm(where, grad, columns, beta=0)
        return sparse.values().view(cells.shape)
    products = []
    chunks = (x.split(CHUNK_POINTS) for x in (cells, grad.unsqueeze(1)))
    for cell, row in zip(*chunks, strict=True):
        read = flat.index_select(0, cell.flatten()).view(*cell.shape, -1).to(grad.dtype)
        products.append((read * row).sum(-1))  # bmm with a column takes three times as long
    return torch.cat(products)


def _add_products(flat: Tensor, cells: Tensor, weights: Tensor, grad: Tensor) -> None:
    """Add every point's gradient (M, Dc), times the weights (M, 4 L), to its cells (M, 4 L).

    Sorted by cell, as in a sparse matrix, so that what a cell gets is summed and then added once.
    """
    entries = [x.flatten().numpy() for x in (weights, cells)]
    by_cell = csr_array((*entries, _starts(cells).numpy()), shape=(len(cells), len(flat))).tocsc()
    point, starts, weight = map(torch.from_numpy, (by_cell.indices, by_cell.indptr, by_cell.data))
    cell = starts.diff().nonzero().squeeze(1)  # those that get anything
    sums = F.embedding_bag(point, grad, starts[cell], mode="sum", per_sample_weights=weight)
    flat.index_add_(0, cell, sums)


def _passes_over_all(flat: Tensor, cells: Tensor, grad: Tensor) -> bool:
    """Return whether a sparse product with all rows (R, Dc) is faster than reading cells (M, 4 L).

    Rows of another type than the gradient are converted for it, which pays if each is read four
    times on average. A sparse matrix (M, R) has a place for every cell if 4 L are not more than R.
    """
    if cells.shape[1] > len(flat):
        return False
    return flat.dtype == grad.dtype or 4 * len(flat) <= cells.numel()


@functools.cache
def _silence_sparse_notice() -> None:
    """Make a sparse matrix unheard: torch warns, at the first one of a process, of a beta state.

    Filters that are set at each call would let every other warning be shown again.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        torch.eye(1).to_sparse_csr()


def _starts(cells: Tensor) -> Tensor:
    """Return where each point's cells (M, 4 L) begin, and the end: (M + 1,) int32."""
    return torch.arange(0, cells.numel() + 1, cells.shape[1], dtype=torch.int32)
