"""Ablation of the demo: no stage reuses filters of earlier stages."""

from .digits_in_photos import dataloader, dataset, lr_multiplier, model, optimizer, train

model.decoder.first_reuse_stage = None
train.output_dir = "output/demo_no_reuse"
