"""StageInteractor with ResNet-50 and the published hyper-parameters (paper, appendix J)."""

from detectron2.config import LazyCall as L
from detectron2.modeling.backbone import BasicStem, ResNet

from stageinteractor.assigner import CrossStageAssigner, HungarianMatcher
from stageinteractor.criterion import FocalLoss, SetCriterion
from stageinteractor.modeling import (
    ChannelMapper,
    LearnedQueries,
    StageInteractor,
    StageInteractorDecoder,
)
from stageinteractor.modeling.backbones import FixedStatsBatchNorm2d
from stageinteractor.modeling.postprocessing import TopK

model = L(StageInteractor)(
    backbone=L(ResNet)(
        stem=L(BasicStem)(in_channels=3, out_channels=64, norm=FixedStatsBatchNorm2d),
        stages=L(ResNet.make_default_stages)(
            depth=50, stride_in_1x1=False, norm=FixedStatsBatchNorm2d
        ),
        out_features=["res2", "res3", "res4", "res5"],
        freeze_at=2,  # stem and res2
    ),
    neck=L(ChannelMapper)(
        in_channels=[256, 512, 1024, 2048],
        in_features=["res2", "res3", "res4", "res5"],
        out_channels="${..decoder.embed_dim}",
        num_groups=32,
    ),
    queries=L(LearnedQueries)(num_queries=100, embed_dim="${..decoder.embed_dim}"),
    decoder=L(StageInteractorDecoder)(
        num_stages=6,
        embed_dim=256,
        num_groups=4,  # of 256 / 4 = 64 channels
        num_heads=8,
        feedforward_dim=2048,
        num_classes="${dataset.num_classes}",
        point_groups=4,
        first_point_groups=8,  # 8 x 8 = 64 points in the first stage, 4 x 8 = 32 in the others
        points_per_group=8,
        out_points=128,  # of which stages that reuse generate 128 / 2 = 64
        first_reuse_stage=2,
    ),
    criterion=L(SetCriterion)(
        matcher=L(HungarianMatcher)(
            cost_class=2.0, cost_bbox=5.0, cost_giou=2.0, alpha=0.25, gamma=2.0
        ),
        assigner=L(CrossStageAssigner)(iou_threshold=0.5, scope=[-1, None], keep_own_match=False),
        class_loss=L(FocalLoss)(alpha=0.25, gamma=2.0),
        weight_class=2.0,
        weight_bbox=5.0,
        weight_giou=2.0,
        normalizer="max",
        log_statistics=False,  # what the assigner did, as training metrics
    ),
    postprocessing=L(TopK)(max_detections="${..queries.num_queries}"),
    pixel_mean=[123.675, 116.28, 103.53],
    pixel_std=[58.395, 57.12, 57.375],
    size_divisibility=32,
)
