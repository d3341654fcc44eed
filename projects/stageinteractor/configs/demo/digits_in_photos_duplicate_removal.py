"""The demo with duplicate removal, trained together with the detector."""

from stageinteractor import get_config

from .digits_in_photos import dataloader, dataset, lr_multiplier, model, optimizer, train

model.update(get_config("common/duplicate_removal.py").parts)
train.output_dir = "output/demo_duplicate_removal"
