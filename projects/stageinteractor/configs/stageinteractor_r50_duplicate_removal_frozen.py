"""Duplicate removal behind a trained StageInteractor, R50, whose weights do not change: 1 epoch."""

from stageinteractor import get_config
from stageinteractor.modeling.frozen import FrozenStageInteractor

from .stageinteractor_r50_duplicate_removal_1x import dataloader, dataset, model, train

optimizer = get_config("common/duplicate_removal.py").optimizer
lr_multiplier = get_config("common/schedule.py").one_cycle

model["_target_"] = FrozenStageInteractor
train.backbone_weights = ""  # all weights come from:
train.init_checkpoint = "output/stageinteractor_r50_1x/model_final.pth"
train.output_dir = "output/stageinteractor_r50_duplicate_removal_frozen"
train.epochs = 1
