"""Stable-H-DETR: detrex's H-Deformable-DETR R50, two-stage, 12 epochs on COCO.

Nobody has published the class weight for this model; 6 is Stable-DINO's.
"""

from stageinteractor.integrations.detrex_recipes import (
    evaluate_with_nms,
    load_recipe,
    use_stable_matching,
)

dataloader, lr_multiplier, model, optimizer, train = load_recipe(
    "h_deformable_detr/configs/h_deformable_detr_r50_two_stage_12ep.py",
    "stable_h_deformable_detr_r50_two_stage_12ep",
)

use_stable_matching(model)
evaluate_with_nms(dataloader)
