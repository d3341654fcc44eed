"""StageInteractor, R50, 100 queries, 12 epochs, with duplicate removal trained together with it."""

from stageinteractor import get_config

from .stageinteractor_r50_1x import dataloader, dataset, lr_multiplier, model, optimizer, train

model.update(get_config("common/duplicate_removal.py").parts)
train.output_dir = "output/stageinteractor_r50_duplicate_removal_1x"
