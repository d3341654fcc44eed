"""detrex's DAB-DETR R50 with the cross-stage assigner, 300 queries, 50 epochs on COCO."""

from stageinteractor.integrations.detrex import use_cross_stage
from stageinteractor.integrations.detrex_recipes import load_recipe

_recipe = load_recipe("dab_detr/configs/dab_detr_r50_50ep.py", "dab_detr_r50_50ep")
dataloader, lr_multiplier = _recipe.dataloader, _recipe.lr_multiplier
model, optimizer, train = _recipe.model, _recipe.optimizer, _recipe.train

use_cross_stage(model.criterion)
