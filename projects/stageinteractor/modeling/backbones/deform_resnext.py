"""ResNeXt whose 3x3 convolutions are deformable: detectron2's ResNet with another block.

The deformable convolution is torchvision's, so that nothing needs compiling. Source: Dai et al.,
ICCV 2017 (version 1: no modulation, one offset group); Xie et al., CVPR 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from detectron2.modeling.backbone.resnet import BottleneckBlock, ResNet
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class DeformableBottleneck(BottleneckBlock):
    """A bottleneck block whose 3x3 convolution reads at learned offsets.

    The arguments are those of detectron2's BottleneckBlock. The offsets start at zero, so that the
    block then equals a plain one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bottleneck_channels: int,
        stride: int = 1,
        num_groups: int = 1,
        norm: str | Callable[[int], nn.Module] = "BN",
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            bottleneck_channels=bottleneck_channels,
            stride=stride,
            num_groups=num_groups,
            norm=norm,
        )
        self.conv2_offset = nn.Conv2d(bottleneck_channels, 18, 3, stride=stride, padding=1)
        nn.init.zeros_(self.conv2_offset.weight)
        nn.init.zeros_(self.conv2_offset.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output (B, C, H / stride, W / stride)."""
        out = F.relu_(self.conv1(x))
        offset = self.conv2_offset(out)  # 9 pairs (dy, dx)
        conv = self.conv2
        out = deform_conv2d(out, offset, conv.weight, stride=conv.stride, padding=conv.padding)
        out = self.conv3(F.relu_(conv.norm(out)))
        return F.relu_(out + (x if self.shortcut is None else self.shortcut(x)))


def resnext_stages(
    *,
    depth: int = 101,
    num_groups: int = 32,
    width_per_group: int = 4,
    norm: str | Callable[[int], nn.Module] = "BN",
    deformable: Sequence[bool] = (False, True, True, True),
) -> list[list[nn.Module]]:
    """Return the stages of a ResNeXt for detectron2's ResNet.

    Args:
        depth: 50 or 101.
        num_groups: groups of the 3x3 convolutions.
        width_per_group: their channels in a group, in the first stage; doubled from stage to stage.
        norm: of every convolution.
        deformable: for each stage, whether its blocks are deformable.
    """
    if depth not in BLOCKS:
        raise ValueError(f"depth must be one of {tuple(BLOCKS)}, got {depth}")
    stages = []
    for index, (count, deform) in enumerate(zip(BLOCKS[depth], deformable, strict=True)):
        stages.append(
            ResNet.make_stage(
                DeformableBottleneck if deform else BottleneckBlock,
                count,
                stride_per_block=[1 if index == 0 else 2] + [1] * (count - 1),
                in_channels=64 if index == 0 else 128 << index,
                out_channels=256 << index,
                bottleneck_channels=num_groups * width_per_group << index,
                num_groups=num_groups,
                norm=norm,
            )
        )
    return stages
