"""Any timm model with feature maps of strides 4, 8, 16 and 32 as a detectron2 backbone."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from torch import Tensor, nn

from ...checkpoint.timm_weights import create_with_weights
from ...errors import ConfigError, DataError
from .depthwise import float32_depthwise

STRIDES = {4: "res2", 8: "res3", 16: "res4", 32: "res5"}


class TimmBackbone(Backbone):
    """Wrap ``timm.create_model(name, features_only=True)``; maps are called res2 to res5.

    Args:
        name: a timm model name.
        weights: None for random weights, or the path of a file with timm's key names, .pth or
            .safetensors. Nothing is downloaded: timm's addresses come without a sha256.
        fixed_statistics: batch norms keep the running statistics of the weights, as in the
            published ResNets; their scale and shift are trained.

    Raises:
        ConfigError: unknown model, a model without one of the strides, or a weight file that is
            missing, is none, or does not hold all weights of the model, all of them finite.
    """

    def __init__(
        self, *, name: str, weights: str | None = None, fixed_statistics: bool = True
    ) -> None:
        super().__init__()
        self.model = _create(name, weights)
        self.model.to(memory_format=torch.channels_last)  # twice as fast for depthwise convolutions
        self.fixed_statistics = fixed_statistics
        channels: Sequence[int] = self.model.feature_info.channels()
        self._specs = {
            feature: ShapeSpec(channels=width, stride=stride)
            for (stride, feature), width in zip(STRIDES.items(), channels, strict=True)
        }

    def train(self, mode: bool = True) -> TimmBackbone:
        """Switch between training and evaluation; fixed statistics stay fixed."""
        super().train(mode)
        if self.fixed_statistics:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the maps (B, C_l, H / stride, W / stride) of images (B, 3, H, W)."""
        images = images.contiguous(memory_format=torch.channels_last)
        with float32_depthwise(images.device):
            return dict(zip(self._specs, self.model(images), strict=True))

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Return channels and stride of every map."""
        return dict(self._specs)


def _indices_of_strides(name: str) -> tuple[int, ...]:
    """Return which of the model's feature maps have strides 4, 8, 16 and 32."""
    import timm

    if not timm.is_model(name):
        near = ", ".join(difflib.get_close_matches(name, timm.list_models(), n=3)) or "none"
        raise ConfigError(f"model.backbone.name: timm has no model {name!r}; near it: {near}")
    model = timm.create_model(name, features_only=True, pretrained=False)
    strides = list(model.feature_info.reduction())
    missing = [stride for stride in STRIDES if stride not in strides]
    if missing:
        raise ConfigError(
            f"model.backbone.name: {name!r} has feature maps of strides {strides}; "
            f"{missing} missing, choose a model with strides 4, 8, 16 and 32"
        )
    return tuple(strides.index(stride) for stride in STRIDES)


def _create(name: str, weights: str | None) -> Any:
    import timm

    options = {"features_only": True, "out_indices": _indices_of_strides(name)}
    if weights is None:
        return timm.create_model(name, **options)
    weights = os.path.expanduser(weights)
    if not os.path.exists(weights):
        raise ConfigError(
            f"model.backbone.weights: no file {weights!r} for {name!r}; make it with "
            "stageinteractor weights, save timm's weights under that name (docs/custom_data.md), "
            "or set it to null (random weights)"
        )
    try:
        return create_with_weights(name, weights, **options)
    except DataError as error:
        raise ConfigError(f"model.backbone.weights: {error}") from error
