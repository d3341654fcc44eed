"""ASAG-A, R50, about 300 anchors, 36 epochs, short sides 640 to 800 and crops."""

from .asag_a_r50_300_1x import model
from .asag_a_r50_crop_3x import dataloader, dataset, lr_multiplier, optimizer, train

train.output_dir = "output/asag_a_r50_300_crop_3x"
