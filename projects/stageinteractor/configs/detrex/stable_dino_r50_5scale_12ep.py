"""Stable-DINO R50, 5 scales, 900 queries, 12 epochs on COCO."""

from stageinteractor.integrations.detrex_recipes import (
    evaluate_with_nms,
    load_recipe,
    use_stable_matching,
)

dataloader, lr_multiplier, model, optimizer, train = load_recipe(
    "dino/configs/dino-resnet/dino_r50_5scale_12ep.py", "stable_dino_r50_5scale_12ep"
)

use_stable_matching(model)
evaluate_with_nms(dataloader)
