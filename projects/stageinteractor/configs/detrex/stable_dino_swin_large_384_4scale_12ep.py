"""Stable-DINO Swin-L, 4 scales, 900 queries, 12 epochs on COCO."""

from stageinteractor.integrations.detrex_recipes import (
    evaluate_with_nms,
    load_recipe,
    use_stable_matching,
)

dataloader, lr_multiplier, model, optimizer, train = load_recipe(
    "dino/configs/dino-swin/dino_swin_large_384_4scale_12ep.py",
    "stable_dino_swin_large_384_4scale_12ep",
)

use_stable_matching(model)
evaluate_with_nms(dataloader)
