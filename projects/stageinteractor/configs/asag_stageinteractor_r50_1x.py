"""ASAG's anchors before three stages of StageInteractor with labels gathered across all four."""

from .asag_a_r50_1x import dataloader, dataset, lr_multiplier, model, optimizer, train
from .models.stageinteractor_r50 import model as _plain

model.decoder = _plain.decoder
model.decoder.num_stages = 3
model.criterion = _plain.criterion  # the proposals are the first stage of its chain
train.output_dir = "output/asag_stageinteractor_r50_1x"
