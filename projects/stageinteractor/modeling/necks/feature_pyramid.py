"""The feature pyramid network (Lin et al., CVPR 2017), for decoders that read one level."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from .levels import check_levels


class FeaturePyramid(nn.Module):
    """Map backbone features of strides 4, 8, 16, 32 to P2 to P5 (Lin et al., CVPR 2017).

    Args:
        in_channels: channels of the backbone maps, finest level first.
        in_features: names of the backbone maps in the same order.
        out_channels: D.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        in_features: Sequence[str] = ("res2", "res3", "res4", "res5"),
        out_channels: int = 256,
    ) -> None:
        super().__init__()
        check_levels(in_channels, in_features)
        self.in_features = tuple(in_features)
        self.pyramid = FeaturePyramidNetwork(list(in_channels), out_channels)

    def forward(self, features: Mapping[str, Tensor]) -> list[Tensor]:
        """Return L maps (B, D, H_l, W_l) of the backbone's maps (B, C_l, H_l, W_l)."""
        maps = OrderedDict((name, features[name]) for name in self.in_features)
        return list(self.pyramid(maps).values())
