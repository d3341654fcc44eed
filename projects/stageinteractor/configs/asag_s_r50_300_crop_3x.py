"""ASAG-S, R50, about 300 anchors, 36 epochs, short sides 640 to 800 and crops."""

from .asag_a_r50_300_crop_3x import dataloader, dataset, lr_multiplier, model, optimizer, train
from .models.asag_s_r50 import model as _asag_s

model.decoder = _asag_s.decoder
train.output_dir = "output/asag_s_r50_300_crop_3x"
