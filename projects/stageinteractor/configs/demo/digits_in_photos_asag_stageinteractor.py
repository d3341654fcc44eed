"""The demo with ASAG's anchors before two stages, and labels gathered across all three."""

from .digits_in_photos import model as _plain
from .digits_in_photos_asag import dataloader, dataset, lr_multiplier, model, optimizer, train

model.decoder = _plain.decoder
model.decoder.num_stages = 2
model.criterion = _plain.criterion  # the proposals are the first stage of its chain
train.output_dir = "output/demo_asag_stageinteractor"
