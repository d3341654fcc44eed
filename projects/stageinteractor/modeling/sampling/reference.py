"""Sampling of feature maps by torch's own operations: the reference for the faster backends.

It runs wherever torch does, and `torch.compile` and export can trace it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def sample_levels(
    maps: Sequence[Tensor], positions: Tensor, weights: Tensor, strides: Sequence[int]
) -> Tensor:
    """Sample all levels bilinearly (zero outside) and add them up by weight.

    Args:
        maps: L maps (B, D, H_l, W_l).
        positions: (B, N, G, P, 2), x and y in pixels of the padded image.
        weights: (B, N, G, P, L).
        strides: pixels per cell of each level.

    Returns:
        (B, N, G, P, Dc) in the type of ``positions``.
    """
    groups = positions.shape[2]
    grid = positions.transpose(1, 2).flatten(0, 1)  # (B*G, N, P, 2)
    weights = weights.transpose(1, 2).flatten(0, 1)  # (B*G, N, P, L)
    total = grid.new_zeros(())
    for level, (feature, stride) in enumerate(zip(maps, strides, strict=True)):
        height, width = feature.shape[-2:]
        split = feature.unflatten(1, (groups, -1)).flatten(0, 1).to(grid.dtype)  # (B*G, Dc, H, W)
        scaled = torch.stack(
            [grid[..., 0] * (2.0 / (width * stride)), grid[..., 1] * (2.0 / (height * stride))], -1
        )
        sampled = F.grid_sample(split, scaled - 1.0, padding_mode="zeros", align_corners=False)
        total = total + sampled * weights[:, None, :, :, level]  # (B*G, Dc, N, P)
    by_group: Tensor = total.unflatten(0, (-1, groups))  # (B, G, Dc, N, P)
    return by_group.permute(0, 3, 1, 4, 2)  # (B, N, G, P, Dc)
