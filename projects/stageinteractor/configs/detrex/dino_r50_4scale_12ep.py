"""detrex's DINO R50, 4 scales, with the cross-stage assigner, 900 queries, 12 epochs on COCO."""

from stageinteractor.integrations.detrex import load_project_config, use_cross_stage

from .common import dataloader, lr_multiplier, optimizer, train

model = load_project_config("dino/configs/models/dino_r50.py").model
use_cross_stage(model.criterion)
model.device = "${train.device}"

train.output_dir = "output/detrex/dino_r50_4scale_12ep"
