"""The channel mapper: a 1x1 convolution for every backbone map and one GroupNorm they share.

There is no top-down path: the decoder itself mixes the levels when it samples. Paper: appendix;
after AdaMixer's channel mapping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ..group_norm import GroupNorm
from .levels import check_levels


class ChannelMapper(nn.Module):
    """Map backbone features of strides 4, 8, 16, 32 to maps of equal width.

    Args:
        in_channels: channels of the backbone maps, finest level first.
        in_features: names of the backbone maps in the same order.
        out_channels: D.
        num_groups: groups of the shared GroupNorm.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        in_features: Sequence[str] = ("res2", "res3", "res4", "res5"),
        out_channels: int = 256,
        num_groups: int = 32,
    ) -> None:
        super().__init__()
        check_levels(in_channels, in_features)
        self.in_features = tuple(in_features)
        convs = [nn.Conv2d(width, out_channels, 1) for width in in_channels]
        self.convs = nn.ModuleList(convs)
        self.norm = GroupNorm(num_groups, out_channels)
        for conv in convs:
            nn.init.xavier_uniform_(conv.weight)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, features: Mapping[str, Tensor]) -> list[Tensor]:
        """Return L maps (B, D, H_l, W_l) of the backbone's maps (B, C_l, H_l, W_l)."""
        maps = [features[name] for name in self.in_features]
        return [self.norm(conv(x)) for conv, x in zip(self.convs, maps, strict=True)]
