"""detrex's Conditional-DETR R50 with the cross-stage assigner, 300 queries, 50 epochs on COCO."""

from stageinteractor.integrations.detrex import use_cross_stage
from stageinteractor.integrations.detrex_recipes import load_recipe

dataloader, lr_multiplier, model, optimizer, train = load_recipe(
    "conditional_detr/configs/conditional_detr_r50_50ep.py", "conditional_detr_r50_50ep"
)

use_cross_stage(model.criterion)
