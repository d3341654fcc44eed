"""detrex's DINO R50, 5 scales, with the cross-stage assigner, 900 queries, 12 epochs on COCO."""

from stageinteractor.integrations.detrex import use_cross_stage
from stageinteractor.integrations.detrex_recipes import load_recipe

dataloader, lr_multiplier, model, optimizer, train = load_recipe(
    "dino/configs/dino-resnet/dino_r50_5scale_12ep.py", "dino_r50_5scale_12ep"
)

use_cross_stage(model.criterion)
