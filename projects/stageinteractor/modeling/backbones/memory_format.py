"""Memory formats: with channels last, the channels of a cell of a map lie side by side."""

from __future__ import annotations

import torch
from detectron2.modeling.backbone.resnet import ResNet
from torch import nn

from ..detector import StageInteractor
from .deform_resnext import DeformableBottleneck


def set_memory_format(model: nn.Module, channels_last: bool | str) -> None:
    """Lay out the weights of convolutions in place; the maps that they make follow.

    Args:
        model: on its device.
        channels_last: True for the whole model. "auto" for the backbone of a `StageInteractor`
            on a CPU, if it is a ResNet of detectron2 without deformable convolutions, which become
            slower. False leaves the model as it is.
    """
    if channels_last == "auto":
        if isinstance(model, StageInteractor) and _is_fast_with_channels_last(model.backbone):
            model.backbone.to(memory_format=torch.channels_last)
    elif channels_last:
        model.to(memory_format=torch.channels_last)


def _is_fast_with_channels_last(backbone: nn.Module) -> bool:
    return (
        isinstance(backbone, ResNet)
        and next(backbone.parameters()).device.type == "cpu"
        and not any(isinstance(module, DeformableBottleneck) for module in backbone.modules())
    )
