"""Dynamic mixing: filters generated from a query mix the features sampled for it.

In: sampled features (B, N, G, P, Dc), content (B, N, D), the filter bank of earlier stages. Out:
content (B, N, D) to be added, and the bank with this stage's filters. First the channels are mixed,
then, from the third stage on, mixed again with every reused filter in turn, then the points. Paper:
section 3.3, code 1; gates and biases of the adapters as in the published code.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from ..recast_linear import RecastLinear
from .chunked import chunked_apply
from .ops import mix_channels, mix_points
from .reuse import ChannelReuse, ChannelReuseType, SpatialReuse
from .static_mixing import StaticMixing, StaticMixingType


class FilterBank(NamedTuple):
    """Filters that later stages may reuse; a value handed from stage to stage."""

    channel: tuple[Tensor, ...]  # generated channel filters (B*N*G, Dc, Dc), oldest first
    spatial: Tensor | None  # spatial filter rows of the previous stage (B*N*G, O', P)


EMPTY_BANK = FilterBank(channel=(), spatial=None)


class Mixing(Protocol):
    """Mixes the features sampled for a query, as `DynamicMixing` does."""

    def __call__(
        self, sampled: Tensor, content: Tensor, bank: FilterBank
    ) -> tuple[Tensor, FilterBank]:
        """Return content (B, N, D) to add, and the bank for the next stage.

        Args:
            sampled: (B, N, G, P, Dc).
            content: (B, N, D).
            bank: filters of earlier stages.
        """


class DynamicMixing(nn.Module):
    """Mix sampled features over channels and points, with reuse of earlier filters.

    Args:
        embed_dim: D.
        num_groups: G channel groups of width Dc = D / G.
        point_groups: K, first-level point groups; the points are P = K J.
        points_per_group: J.
        out_points: O, rows of the spatial filter. A stage that reuses generates half of them.
        num_reused: n, how many channel filters of the bank are reused; 0 for none.
        cascade: the class that mixes the channels n more times.
        static_mixing: the class of the static mixing between two channel mixings.
    """

    def __init__(
        self,
        *,
        embed_dim: int = 256,
        num_groups: int = 4,
        point_groups: int = 4,
        points_per_group: int = 8,
        out_points: int = 128,
        num_reused: int = 0,
        cascade: ChannelReuseType = ChannelReuse,
        static_mixing: StaticMixingType = StaticMixing,
    ) -> None:
        super().__init__()
        points = point_groups * points_per_group
        self.width = width = embed_dim // num_groups
        self.out_points = out_points
        self.num_groups = num_groups
        self.channel_reuse: nn.Module | None = None
        self.spatial_reuse: SpatialReuse | None = None
        own_points = out_points
        if num_reused:
            self.channel_reuse = cascade(
                embed_dim=embed_dim,
                num_groups=num_groups,
                point_groups=point_groups,
                points_per_group=points_per_group,
                num_reused=num_reused,
                static_mixing=static_mixing,
            )
            if self.channel_reuse.reuses_filters:
                own_points = out_points // 2
                self.spatial_reuse = SpatialReuse(
                    embed_dim=embed_dim, num_groups=num_groups, rows=own_points, points=points
                )
        self.filter_shape = own_points, points
        self.filters = RecastLinear(embed_dim, num_groups * (width * width + own_points * points))
        self.biases = nn.Linear(embed_dim, num_groups * (width + out_points))
        self.out_proj = RecastLinear(num_groups * out_points * width, embed_dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise weights to zero: generated filters and biases equal the layers' biases."""
        for layer in (self.filters, self.biases, self.out_proj):
            nn.init.zeros_(layer.weight)

    def forward(
        self, sampled: Tensor, content: Tensor, bank: FilterBank
    ) -> tuple[Tensor, FilterBank]:
        """Return the mixed features (B, N, D) and the bank that the next stage gets."""
        x = sampled.flatten(0, 2)  # (M, P, Dc), M = B*N*G
        channel, spatial = self._generate(content)
        biases = self.biases(content).view(x.shape[0], -1)  # (M, Dc + O)
        channel_bias, spatial_bias = biases.split([self.width, self.out_points], dim=-1)
        h = chunked_apply(mix_channels, x, channel, channel_bias.unsqueeze(1))  # (M, P, Dc)
        if self.channel_reuse is not None:
            h = self.channel_reuse(x, h, content, channel, bank.channel)
        bias = spatial_bias.unsqueeze(2)  # (M, O, 1)
        if self.spatial_reuse is not None and bank.spatial is not None:
            y = self.spatial_reuse(h, content, spatial, bank.spatial, bias)
        else:
            y = chunked_apply(mix_points, h, spatial, bias)
        mixed = self.out_proj(y.view(*content.shape[:2], -1))  # columns: group, point, channel
        kept = bank.channel if self.channel_reuse is not None else ()
        return mixed, FilterBank(channel=(*kept, channel), spatial=spatial)

    def _generate(self, content: Tensor) -> tuple[Tensor, Tensor]:
        """Return channel filters (B*N*G, Dc, Dc) and spatial filters (B*N*G, O', P)."""
        shapes = (self.width, self.width), self.filter_shape
        filters = self.filters(content).view(-1, self.filters.out_features // self.num_groups)
        channel, spatial = filters.split([math.prod(shape) for shape in shapes], dim=1)
        return channel.unflatten(1, shapes[0]), spatial.unflatten(1, shapes[1])
