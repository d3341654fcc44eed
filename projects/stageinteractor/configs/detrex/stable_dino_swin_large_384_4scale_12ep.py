"""Stable-DINO Swin-L, 4 scales, 900 queries, 12 epochs on COCO."""

from stageinteractor.integrations.detrex_recipes import (
    evaluate_with_nms,
    load_recipe,
    use_stable_matching,
)

_recipe = load_recipe(
    "dino/configs/dino-swin/dino_swin_large_384_4scale_12ep.py",
    "stable_dino_swin_large_384_4scale_12ep",
)
dataloader, lr_multiplier = _recipe.dataloader, _recipe.lr_multiplier
model, optimizer, train = _recipe.model, _recipe.optimizer, _recipe.train

use_stable_matching(model)
evaluate_with_nms(dataloader)
