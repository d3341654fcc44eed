"""StageInteractor, R50, 300 queries, 24 epochs, multi-scale and crops."""

from stageinteractor import get_config

from .stageinteractor_r50_300_crop_1x import (
    dataloader,
    dataset,
    model,
    optimizer,
    train,
)

lr_multiplier = get_config("common/schedule.py").step_2x
train.epochs = 24  # 24 x 7,330 = 175,920 iterations; drops at 16 x and 22 x 7,330
train.output_dir = "output/stageinteractor_r50_300_crop_2x"
