"""The recipe of the same name in the folder above, for detrex's own tools/train_net.py."""

from detrex.config import get_config

from ..stable_dino_r50_4scale_24ep import model
from .common import dataloader, optimizer, train

model.num_classes = 80  # the criterion's follow it
lr_multiplier = get_config("common/coco_schedule.py").lr_multiplier_24ep

train.max_iter = 180000
train.output_dir = "./output/stable_dino_r50_4scale_24ep"
