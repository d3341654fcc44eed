"""Stable-Deformable-DETR: detrex's, two-stage with box refinement, 300 queries, 12 epochs on COCO.

Nobody has published the class weight for this model; 6, six times detrex's own, is Stable-DINO's.
"""

from stageinteractor.integrations.detrex import load_project_config
from stageinteractor.integrations.detrex_recipes import evaluate_with_nms, use_stable_matching

from .common import dataloader, lr_multiplier, optimizer, train

model = load_project_config("deformable_detr/configs/models/deformable_detr_r50.py").model
use_stable_matching(model)
model.with_box_refine = True
model.as_two_stage = True
model.criterion.num_classes = "${..num_classes}"
model.device = "${train.device}"

evaluate_with_nms(dataloader)
train.output_dir = "output/detrex/stable_deformable_detr_r50_two_stage_12ep"
