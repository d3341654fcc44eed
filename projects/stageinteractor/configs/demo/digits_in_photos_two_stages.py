"""The demo with two stages: as many as the one with ASAG's anchors has."""

from .digits_in_photos import dataloader, dataset, lr_multiplier, model, optimizer, train

model.decoder.num_stages = 2
train.output_dir = "output/demo_two_stages"
