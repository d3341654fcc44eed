"""detrex's Deformable-DETR R50 with the cross-stage assigner, 300 queries, 12 epochs on COCO."""

from stageinteractor.integrations.detrex import load_project_config, use_cross_stage

from .common import dataloader, lr_multiplier, optimizer, train

model = load_project_config("deformable_detr/configs/models/deformable_detr_r50.py").model
use_cross_stage(model.criterion)
model.criterion.num_classes = "${..num_classes}"
model.device = "${train.device}"

train.output_dir = "output/detrex/deformable_detr_r50_12ep"
