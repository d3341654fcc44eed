"""Small detectors with random weights in every part."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from detectron2.modeling.backbone import BasicStem, ResNet
from detectron2.modeling.backbone.resnet import BottleneckBlock
from torch import nn

from stageinteractor.assigner import HungarianMatcher, PerStageAssigner
from stageinteractor.criterion import FocalLoss, SetCriterion
from stageinteractor.modeling import (
    AdaMixerDecoder,
    ChannelMapper,
    LearnedQueries,
    StageInteractor,
    StageInteractorDecoder,
)
from stageinteractor.modeling.backbones import DeformableBottleneck, TimmBackbone
from stageinteractor.modeling.postprocessing import TopK

WIDTHS = dict(embed_dim=32, num_groups=2, num_heads=4, feedforward_dim=48, num_classes=3)
POINTS = dict(point_groups=2, first_point_groups=4, points_per_group=2, out_points=8)


@pytest.fixture(scope="session")
def make_detector() -> Callable[..., StageInteractor]:
    """Build a detector of 8 queries in evaluation mode; by default of one stage on a timm model."""

    def build(
        backbone: nn.Module | None = None,
        num_stages: int = 1,
        adamixer: bool = False,
        **changes: Any,
    ) -> StageInteractor:
        torch.manual_seed(0)
        backbone = backbone or TimmBackbone(name="test_efficientnet")
        channels = [spec.channels for spec in backbone.output_shape().values()]
        decoder: nn.Module
        if adamixer:
            decoder = AdaMixerDecoder(num_stages=num_stages, points=4, out_points=8, **WIDTHS)
        else:
            decoder = StageInteractorDecoder(num_stages=num_stages, **WIDTHS, **POINTS)
        parts: dict[str, Any] = dict(
            backbone=backbone,
            neck=ChannelMapper(in_channels=channels, out_channels=32, num_groups=4),
            queries=LearnedQueries(num_queries=8, embed_dim=32),
            decoder=decoder,
            criterion=SetCriterion(HungarianMatcher(), PerStageAssigner(), FocalLoss()),
            postprocessing=TopK(max_detections=10),
        )
        return _randomised(StageInteractor(**(parts | changes))).eval()

    return build


@pytest.fixture(scope="session")
def make_resnet() -> Callable[[], ResNet]:
    """Build detectron2's ResNet with one block per stage, the last of them deformable."""

    def build() -> ResNet:
        torch.manual_seed(0)
        blocks = [BottleneckBlock] * 3 + [DeformableBottleneck]
        stages = [
            ResNet.make_stage(
                block,
                1,
                in_channels=8 << index,
                out_channels=16 << index,
                bottleneck_channels=8,
                stride_per_block=[1 if index == 0 else 2],
                norm="BN",
            )
            for index, block in enumerate(blocks)
        ]
        features = ["res2", "res3", "res4", "res5"]
        return ResNet(BasicStem(3, 8), stages, out_features=features)

    return build


def _randomised(model: StageInteractor) -> StageInteractor:
    """Fill in random weights: fresh models have zero weights in many places."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
            else:
                parameter.add_(0.2 * noise)
    return model
