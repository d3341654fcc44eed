"""detrex's DN-DETR R50 with the cross-stage assigner, 300 queries, 50 epochs on COCO."""

from stageinteractor.integrations.detrex import use_cross_stage
from stageinteractor.integrations.detrex_recipes import load_recipe

dataloader, lr_multiplier, model, optimizer, train = load_recipe(
    "dn_detr/configs/dn_detr_r50_50ep.py", "dn_detr_r50_50ep"
)

use_cross_stage(model.criterion)
