"""A small Deformable DETR of Hugging Face on the embedded set, with the cross-stage assigner."""

import torch
from detectron2.config import LazyCall as L

from stageinteractor.assigner import CrossStageAssigner
from stageinteractor.engine.optim import param_groups
from stageinteractor.integrations.transformers import require_transformers
from stageinteractor.modeling.backbones import TimmBackbone
from stageinteractor.modeling.postprocessing import TopK
from stageinteractor.modeling.transformers_detector import TransformersDetector

require_transformers()
from transformers import (  # noqa: E402
    DeformableDetrConfig,
    DeformableDetrForObjectDetection,
    TimmBackboneConfig,
)

from .digits_in_photos import dataloader, dataset, lr_multiplier, train  # noqa: E402

_backbone = "tf_efficientnet_lite0"
model = L(TransformersDetector)(
    model=L(DeformableDetrForObjectDetection)(
        config=L(DeformableDetrConfig)(
            backbone_config=L(TimmBackboneConfig)(
                backbone=_backbone, out_indices=[2, 3, 4], use_pretrained_backbone=False
            ),
            num_labels="${dataset.num_classes}",
            num_queries=30,
            num_feature_levels=3,
            d_model=128,
            encoder_layers=2,
            decoder_layers=4,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=512,
            decoder_ffn_dim=512,
            with_box_refine=True,
            auxiliary_loss=True,  # without it the loss sees the last stage only
        ),
    ),
    backbone=L(TimmBackbone)(
        name=_backbone,
        weights="datasets/weights/efficientnet_lite0.pth",  # stageinteractor weights
        fixed_statistics=False,
    ),
    assigner=L(CrossStageAssigner)(iou_threshold=0.5, scope=[-1, None], keep_own_match=False),
    postprocessing=L(TopK)(max_detections="${..model.config.num_queries}"),
    log_statistics=True,
    pixel_mean=[127.5, 127.5, 127.5],
    pixel_std=[127.5, 127.5, 127.5],
)
optimizer = L(torch.optim.AdamW)(
    params=L(param_groups)(lr="${..lr}", backbone_lr_factor=1.0, no_decay=[]),
    lr=4e-4,
    betas=(0.9, 0.99),
    weight_decay=1e-4,
)
train.output_dir = "output/demo_deformable"
