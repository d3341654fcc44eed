"""StageInteractor, R50, 100 queries, 12 epochs, short sides 480 to 800."""

from stageinteractor import get_config

from .stageinteractor_r50_1x import dataloader, dataset, lr_multiplier, model, optimizer, train

dataloader.train.mapper.augmentations = get_config("common/data/coco.py").augmentation.multi_scale
train.output_dir = "output/stageinteractor_r50_mstrain_1x"
