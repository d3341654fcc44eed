"""The same for 24 epochs."""

from stageinteractor import get_config

from .stable_dino_r50_4scale_12ep import dataloader, dataset, model, optimizer, train

lr_multiplier = get_config("common/schedule.py").step_2x_detr

train.output_dir = "output/detrex/stable_dino_r50_4scale_24ep"
train.epochs = 24  # 24 x 7,330 = 175,920 iterations; drop at 20 x 7,330
