"""StageInteractor with stable matching, R50, 100 queries, 12 epochs on COCO."""

from stageinteractor import get_config

from .stageinteractor_r50_1x import dataloader, dataset, lr_multiplier, model, optimizer, train

model.criterion.update(get_config("common/stable_matching.py").criterion)
train.output_dir = "output/stageinteractor_r50_stable_1x"
