"""Stable-MaskDINO: position-supervised loss, modulated cost and dense memory fusion, 12 epochs.

Nobody has published the class weight for this model; 24, six times detrex's own, has Stable-DINO's
factor.
"""

from stageinteractor.integrations.detrex_recipes import evaluate_with_nms, use_stable_matching

from .maskdino_r50_300_12ep import dataloader, lr_multiplier, model, optimizer, train

use_stable_matching(model, class_weight=24.0)
evaluate_with_nms(dataloader)

train.output_dir = "output/detrex/stable_maskdino_r50_300_12ep"
