"""StageInteractor, R50, 100 queries, 36 epochs, short sides 480 to 800."""

from stageinteractor import get_config

from .stageinteractor_r50_mstrain_1x import (
    dataloader,
    dataset,
    model,
    optimizer,
    train,
)

lr_multiplier = get_config("common/schedule.py").step_3x
train.epochs = 36  # 36 x 7,330 = 263,880 iterations; drops at 27 x and 33 x 7,330
train.output_dir = "output/stageinteractor_r50_mstrain_3x"
