"""detrex's DN-Deformable-DETR R50 with the cross-stage assigner, 300 queries, 12 epochs."""

from stageinteractor.integrations.detrex import use_cross_stage
from stageinteractor.integrations.detrex_recipes import load_recipe

dataloader, lr_multiplier, model, optimizer, train = load_recipe(
    "dn_deformable_detr/configs/dn_deformable_detr_r50_12ep.py", "dn_deformable_detr_r50_12ep"
)

use_cross_stage(model.criterion)
