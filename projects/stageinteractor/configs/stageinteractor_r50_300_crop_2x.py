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
train.epochs = 24
train.output_dir = "output/stageinteractor_r50_300_crop_2x"
