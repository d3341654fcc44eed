"""StageInteractor, R50, 300 queries, 12 epochs, multi-scale and crops."""

from stageinteractor import get_config

from .stageinteractor_r50_mstrain_1x import (
    dataloader,
    dataset,
    lr_multiplier,
    model,
    optimizer,
    train,
)

model.queries.num_queries = 300
dataloader.train.mapper.augmentations = get_config(
    "common/data/coco.py"
).augmentation.multi_scale_and_crop
train.output_dir = "output/stageinteractor_r50_300_crop_1x"
