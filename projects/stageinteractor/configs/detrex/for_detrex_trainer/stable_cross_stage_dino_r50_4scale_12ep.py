"""The recipe of the same name in the folder above, for detrex's own tools/train_net.py."""

from ..stable_cross_stage_dino_r50_4scale_12ep import model
from .common import dataloader, lr_multiplier, optimizer, train

model.num_classes = 80  # the criterion's follow it

train.output_dir = "./output/stable_cross_stage_dino_r50_4scale_12ep"
