"""The same for 24 epochs."""

from detrex.config import get_config

from .stable_dino_r50_4scale_12ep import dataloader, model, optimizer, train

lr_multiplier = get_config("common/coco_schedule.py").lr_multiplier_24ep

train.output_dir = "output/detrex/stable_dino_r50_4scale_24ep"
train.max_iter = 180000
