"""detrex's DINO R50, 4 scales, with the cross-stage assigner, 900 queries, 24 epochs on COCO."""

from stageinteractor.integrations.detrex import use_cross_stage
from stageinteractor.integrations.detrex_recipes import load_recipe

dataloader, lr_multiplier, model, optimizer, train = load_recipe(
    "dino/configs/dino-resnet/dino_r50_4scale_24ep.py", "dino_r50_4scale_24ep"
)

use_cross_stage(model.criterion)
