"""Memory formats: with channels last, the channels of a position of a map lie side by side."""

from __future__ import annotations

from detectron2.modeling.backbone.resnet import ResNet
from torch import nn

from .deform_resnext import DeformableBottleneck


def is_fast_with_channels_last(backbone: nn.Module) -> bool:
    """Return whether this is a ResNet of detectron2 on a CPU, without deformable convolutions.

    Deformable convolutions become slower with channels last; timm backbones choose for themselves.
    """
    return (
        isinstance(backbone, ResNet)
        and next(backbone.parameters()).device.type == "cpu"
        and not any(isinstance(module, DeformableBottleneck) for module in backbone.modules())
    )
