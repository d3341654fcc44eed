"""StageInteractor, R50, 300 queries, 36 epochs, multi-scale and crops."""

from stageinteractor import get_config

from .stageinteractor_r50_300_crop_1x import (
    dataloader,
    dataset,
    model,
    optimizer,
    train,
)

lr_multiplier = get_config("common/schedule.py").step_3x_300_queries
train.epochs = 36  # 36 x 7,330 = 263,880 iterations; drops at 24 x and 33 x 7,330
train.output_dir = "output/stageinteractor_r50_300_crop_3x"
