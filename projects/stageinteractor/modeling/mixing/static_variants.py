"""Replacements of static mixing and of filter reuse, for the paper's ablation tables."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .chunked import chunked_apply
from .ops import mix_channels
from .static_mixing import StaticMixing, StaticMixingType, start_at_zero


class NoStaticMixing(nn.Module):
    """Add nothing between two channel mixings (an ablation: dynamic reuse only).

    The arguments are those of StaticMixing, here and in the next two.
    """

    def __init__(self, *, width: int, point_groups: int, points_per_group: int) -> None:
        super().__init__()

    def forward(self, h: Tensor) -> Tensor:
        """Return zeros (M, P, Dc)."""
        return torch.zeros_like(h)


class ChannelStaticMixing(nn.Module):
    """Mix the channels of every point by one linear layer (an ablation)."""

    def __init__(self, *, width: int, point_groups: int, points_per_group: int) -> None:
        super().__init__()
        self.channels = start_at_zero(nn.Linear(width, width))

    def forward(self, h: Tensor) -> Tensor:
        """Return the mixed features (M, P, Dc)."""
        mixed: Tensor = self.channels(h)
        return mixed


class SpatialStaticMixing(nn.Module):
    """Mix the points of every channel by one linear layer (an ablation)."""

    def __init__(self, *, width: int, point_groups: int, points_per_group: int) -> None:
        super().__init__()
        points = point_groups * points_per_group
        self.points = start_at_zero(nn.Linear(points, points))

    def forward(self, h: Tensor) -> Tensor:
        """Return the mixed features (M, P, Dc)."""
        mixed: Tensor = self.points(h.transpose(1, 2))  # (M, Dc, P)
        return mixed.transpose(1, 2)


class StaticCascade(nn.Module):
    """Mix the channels again with the stage's own filter, static mixing between (an ablation).

    What is left of ChannelReuse when no filter of an earlier stage is reused: the same number of
    steps, without adapters. The arguments are those of ChannelReuse.
    """

    reuses_filters = False

    def __init__(
        self,
        *,
        embed_dim: int,
        num_groups: int,
        point_groups: int,
        points_per_group: int,
        num_reused: int,
        static_mixing: StaticMixingType = StaticMixing,
    ) -> None:
        super().__init__()
        self.width = embed_dim // num_groups
        self.num_reused = num_reused
        self.biases = nn.Linear(embed_dim, num_groups * num_reused * self.width)
        nn.init.zeros_(self.biases.weight)
        sizes = dict(point_groups=point_groups, points_per_group=points_per_group)
        self.static = nn.ModuleList(
            static_mixing(width=self.width, **sizes) for _ in range(num_reused)
        )

    def forward(
        self, x: Tensor, h: Tensor, content: Tensor, own: Tensor, reused: Sequence[Tensor]
    ) -> Tensor:
        """Return the features (M, P, Dc) after n more mixings; ``reused`` is unused."""
        biases = self.biases(content).view(-1, self.num_reused, self.width)
        z = x
        for step, static in enumerate(self.static):
            z = z + static(h)
            h = chunked_apply(mix_channels, z, own, biases[:, step, None])
        return h
