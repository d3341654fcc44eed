"""Stable-DINO on the DINO R50 of detrex, 4 scales, 900 queries, 12 epochs, no cross-stage labels.

Position-supervised class losses (decoder, proposals, denoising queries), the position-modulated
cost, dense memory fusion, and the paper's class weight; AP with and without NMS at 0.8.
"""

from stageinteractor.integrations.detrex import load_project_config
from stageinteractor.integrations.detrex_recipes import evaluate_with_nms, use_stable_matching

from .common import dataloader, lr_multiplier, optimizer, train

model = load_project_config("dino/configs/models/dino_r50.py").model
use_stable_matching(model)
model.device = "${train.device}"

evaluate_with_nms(dataloader)
train.output_dir = "output/detrex/stable_dino_r50_4scale_12ep"
