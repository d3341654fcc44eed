"""Duplicate removal behind the trained detector of `make demo`, whose weights do not change."""

from stageinteractor import get_config
from stageinteractor.modeling.frozen import FrozenStageInteractor

from .digits_in_photos_duplicate_removal import dataloader, dataset, lr_multiplier, model, train

optimizer = get_config("common/duplicate_removal.py").optimizer

model["_target_"] = FrozenStageInteractor
train.init_checkpoint = "output/demo/model_final.pth"
train.clip_grad.params.max_norm = 1.0
train.output_dir = "output/demo_duplicate_removal_frozen"
train.max_iter = 1000  # 4 epochs of 8 images
train.eval_period = train.checkpointer.period = 500
