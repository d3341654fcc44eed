"""detrex's DINO Swin-L, 4 scales, with the cross-stage assigner, 900 queries, 12 epochs."""

from stageinteractor.integrations.detrex import use_cross_stage
from stageinteractor.integrations.detrex_recipes import load_recipe

dataloader, lr_multiplier, model, optimizer, train = load_recipe(
    "dino/configs/dino-swin/dino_swin_large_384_4scale_12ep.py", "dino_swin_large_384_4scale_12ep"
)

use_cross_stage(model.criterion)
