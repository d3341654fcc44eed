"""ASAG-D, R50, about 100 anchors, 36 epochs, short sides 640 to 800 and crops."""

from .asag_a_r50_crop_3x import dataloader, dataset, lr_multiplier, optimizer, train
from .models.asag_d_r50 import model

train.output_dir = "output/asag_d_r50_crop_3x"
