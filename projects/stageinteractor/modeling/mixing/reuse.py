"""Reuse of filters that earlier stages generated, through light adapters.

An adapter blends a stage's own filter with a reused one, entry by entry: the weight of the reused
filter is the product of a row gate and a column gate, both sigmoids of linear layers of the query's
content. The raw sampled features are mixed again with each blended filter; before each of these
mixings, the output of static mixing (two linear layers, shared by all queries) is added to them.
Paper: section 3.3 and code 1; the adapter is the one of the published code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from .chunked import chunked_apply
from .ops import mix_channels_blended, mix_points_blended
from .static_mixing import StaticMixing, StaticMixingType


class ChannelReuseType(Protocol):
    """A class of modules that mix the channels n more times, as `ChannelReuse` does."""

    def __call__(
        self,
        *,
        embed_dim: int,
        num_groups: int,
        point_groups: int,
        points_per_group: int,
        num_reused: int,
        static_mixing: StaticMixingType,
    ) -> nn.Module:
        """Build the module; arguments as in `ChannelReuse`."""


class ChannelReuse(nn.Module):
    """Mix the channels again with every reused channel filter, oldest first.

    Args:
        embed_dim: D.
        num_groups: G.
        point_groups: K.
        points_per_group: J.
        num_reused: n, number of reused filters.
        static_mixing: the class of the static mixing between two channel mixings.
    """

    reuses_filters = True

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
        self.width = width = embed_dim // num_groups
        self.num_reused = num_reused
        self.gates = nn.Linear(embed_dim, num_groups * width * 2 * num_reused)
        self.biases = nn.Linear(embed_dim, num_groups * num_reused * width)
        self.static = nn.ModuleList(
            static_mixing(width=width, point_groups=point_groups, points_per_group=points_per_group)
            for _ in range(num_reused)
        )
        nn.init.zeros_(self.gates.weight)
        nn.init.zeros_(self.gates.bias)
        nn.init.zeros_(self.biases.weight)

    def forward(
        self, x: Tensor, h: Tensor, content: Tensor, own: Tensor, reused: Sequence[Tensor]
    ) -> Tensor:
        """Return the features (M, P, Dc) after n more channel mixings, M = B N G.

        Args:
            x: (M, P, Dc), the raw sampled features: the skip path, never normalised.
            h: (M, P, Dc), the features after the stage's own channel mixing.
            content: (B, N, D).
            own: (M, Dc, Dc), the stage's own channel filter.
            reused: n filters (M, Dc, Dc).
        """
        if len(reused) != self.num_reused:
            raise ValueError(f"expected {self.num_reused} reused filters, got {len(reused)}")
        gates = self.gates(content).view(-1, self.width, 2, self.num_reused).sigmoid()
        # side by side in memory: the product of scattered gates takes seven times as long
        gates = gates.permute(3, 2, 0, 1).contiguous()  # (n, 2, M, Dc)
        biases = self.biases(content).view(-1, self.num_reused, self.width)  # (M, n, Dc)
        z = x
        steps = zip(self.static, reused, gates, biases.unbind(1), strict=True)
        for static, earlier, (column, row), bias in steps:
            z = z + static(h)
            terms = bias.unsqueeze(1), own, earlier, row.unsqueeze(2), column.unsqueeze(1)
            h = chunked_apply(mix_channels_blended, z, *terms)
        return h


class SpatialReuse(nn.Module):
    """Mix the points by a stage's own rows of the spatial filter and by blends with earlier ones.

    Args:
        embed_dim: D.
        num_groups: G.
        rows: O', rows that the stage generates itself.
        points: P.
    """

    def __init__(self, *, embed_dim: int, num_groups: int, rows: int, points: int) -> None:
        super().__init__()
        self.rows = rows
        self.points = points
        self.row_gates = nn.Linear(embed_dim, num_groups * rows)
        self.column_gates = nn.Linear(embed_dim, num_groups * points)
        for layer in (self.row_gates, self.column_gates):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, h: Tensor, content: Tensor, own: Tensor, previous: Tensor, bias: Tensor
    ) -> Tensor:
        """Return (M, 2 O', Dc): points mixed by own rows, then by blended ones.

        Args:
            h: (M, P, Dc), the features after channel mixing.
            content: (B, N, D).
            own: (M, O', P), the rows that the stage generated.
            previous: (M, >= O', P), those of the stage before; the first O' are reused.
            bias: (M, 2 O', 1).
        """
        row = self.row_gates(content).view(-1, self.rows, 1).sigmoid()  # (M, O', 1)
        column = self.column_gates(content).view(-1, 1, self.points).sigmoid()  # (M, 1, P)
        reused = previous[:, : self.rows]  # (M, O', P)
        return chunked_apply(mix_points_blended, h, bias, own, reused, row, column)
