"""Stable-H-DETR with the cross-stage assigner.

At the last stage every ground-truth box has one query.
"""

from stageinteractor import get_config

from .stable_h_deformable_detr_r50_two_stage_12ep import (
    dataloader,
    lr_multiplier,
    model,
    optimizer,
    train,
)

model.criterion.assigner = get_config("common/stable_matching.py").criterion.assigner
model.criterion.class_loss = get_config("common/class_loss.py").cross_stage_position_supervised

train.output_dir = "output/detrex/stable_cross_stage_h_deformable_detr_r50_two_stage_12ep"
