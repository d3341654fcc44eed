"""Stable-DINO with the cross-stage assigner; at the last stage one query per ground-truth box."""

from stageinteractor import get_config

from .stable_dino_r50_4scale_12ep import dataloader, lr_multiplier, model, optimizer, train

model.criterion.assigner = get_config("common/stable_matching.py").criterion.assigner
model.criterion.class_loss = get_config("common/class_loss.py").cross_stage_position_supervised

train.output_dir = "output/detrex/stable_cross_stage_dino_r50_4scale_12ep"
