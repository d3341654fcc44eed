"""Products of a query's features with its filters, each followed by joint LayerNorm and ReLU.

The M = B N G matrices (points, channels) of all queries and channel groups are mixed by M filters.
Joint LayerNorm normalises a whole matrix, points and channels together. On CPUs this is done in
chunks of matrices (see `chunked`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def joint_norm_relu(x: Tensor) -> Tensor:
    """Apply LayerNorm over the last two dimensions jointly, without parameters, then ReLU."""
    return F.relu(F.layer_norm(x, x.shape[-2:]), inplace=True)


def mix_channels(x: Tensor, filters: Tensor, bias: Tensor) -> Tensor:
    """Return (M, P, Dc) from x (M, P, Dc), filters (M, Dc, Dc) and bias (M, 1, Dc)."""
    return joint_norm_relu(torch.baddbmm(bias, x, filters))


def mix_points(x: Tensor, filters: Tensor, bias: Tensor) -> Tensor:
    """Return (M, O, Dc) from x (M, P, Dc), filters (M, O, P) and bias (M, O, 1)."""
    return joint_norm_relu(torch.baddbmm(bias, filters, x))


def blend_filters(own: Tensor, reused: Tensor, row_gate: Tensor, column_gate: Tensor) -> Tensor:
    """Return own + gate (reused - own), gate = row gate x column gate.

    Args:
        own, reused: (M, R, K).
        row_gate: (M, R, 1).
        column_gate: (M, 1, K).
    """
    return torch.lerp(own, reused, row_gate * column_gate)


def mix_channels_blended(
    x: Tensor, bias: Tensor, own: Tensor, reused: Tensor, row_gate: Tensor, column_gate: Tensor
) -> Tensor:
    """`mix_channels` by a stage's own filters (M, Dc, Dc) blended with reused ones."""
    return mix_channels(x, blend_filters(own, reused, row_gate, column_gate), bias)


def mix_points_blended(
    x: Tensor, bias: Tensor, own: Tensor, reused: Tensor, row_gate: Tensor, column_gate: Tensor
) -> Tensor:
    """`mix_points` by a stage's own rows (M, O', P), then by these blended with reused ones."""
    blended = blend_filters(own, reused, row_gate, column_gate)
    return mix_points(x, torch.cat([own, blended], dim=1), bias)  # (M, 2 O', Dc)
