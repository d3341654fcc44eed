"""detrex's DAB-Deformable-DETR R50, two-stage, with the cross-stage assigner, 12 epochs."""

from stageinteractor.integrations.detrex import use_cross_stage
from stageinteractor.integrations.detrex_recipes import load_recipe

dataloader, lr_multiplier, model, optimizer, train = load_recipe(
    "dab_deformable_detr/configs/dab_deformable_detr_r50_two_stage_50ep.py",
    "dab_deformable_detr_r50_two_stage_12ep",
    epochs=12,
)

use_cross_stage(model.criterion)
