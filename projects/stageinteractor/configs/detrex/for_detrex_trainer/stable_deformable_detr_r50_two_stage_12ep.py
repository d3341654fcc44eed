"""The recipe of the same name in the folder above, for detrex's own tools/train_net.py."""

from ..stable_deformable_detr_r50_two_stage_12ep import model
from .common import dataloader, lr_multiplier, optimizer, train

model.num_classes = 80

train.output_dir = "./output/stable_deformable_detr_r50_two_stage_12ep"
