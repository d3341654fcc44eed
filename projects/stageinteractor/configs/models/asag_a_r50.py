"""ASAG-A with ResNet-50, about 100 anchors: one AdaMixer stage on a feature pyramid."""

from detectron2.config import LazyCall as L

from stageinteractor import get_config
from stageinteractor.criterion import AnchorLoss
from stageinteractor.modeling import (
    AdaMixerStage,
    AnchorGenerator,
    AnchorQueries,
    FeaturePyramid,
    ParallelDecoder,
    RelationBlock,
)
from stageinteractor.modeling.queries import Probing

from .stageinteractor_r50 import model

model.neck = L(FeaturePyramid)(
    in_channels=[256, 512, 1024, 2048],
    in_features=["res2", "res3", "res4", "res5"],
    out_channels="${..decoder.embed_dim}",
)
model.queries = L(AnchorQueries)(
    generator=L(AnchorGenerator)(
        embed_dim="${...decoder.embed_dim}",
        patch_size=15,
        channels=8,
        hidden_dim=1000,
        global_anchors=50,  # 150 in the setting with 300 anchors
        crop_anchors=20,  # 50
        probing=L(Probing)(
            patch_size="${..patch_size}",
            low=0.1,
            high=0.7,
            keep=0.1,  # 0.05
            overlap=0.25,
            min_replaced=3,
            max_crops=15,
            min_anchors=5,  # 50
            max_anchors=200,  # 500
        ),
        probing_levels="P3-P6",
        training_patches=4,
        warmup_steps=7330,  # an epoch of 117,266 images at 16 per step
    ),
    relation=L(RelationBlock)(
        embed_dim="${...decoder.embed_dim}",
        num_heads=8,
        feedforward_dim=2048,
        num_classes="${dataset.num_classes}",
    ),
    loss=L(AnchorLoss)(weight_class=8.0, weight_bbox=4.0, weight_giou=2.0),
)
model.decoder = L(ParallelDecoder)(
    stages=[  # side by side, the first alone at inference
        L(AdaMixerStage)(
            embed_dim="${...embed_dim}",
            num_groups=4,
            num_heads=8,
            feedforward_dim=2048,
            num_classes="${dataset.num_classes}",
            points=32,
            out_points=128,
        ),
        *["${.0}"] * 3,  # three more like the first
    ],
    embed_dim=256,
)
model.criterion.update(get_config("common/asag.py").criterion)
model.postprocessing.max_detections = 100
