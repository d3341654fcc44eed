"""The demo with stable matching beside the cross-stage assigner."""

from stageinteractor import get_config

from .digits_in_photos import dataloader, dataset, lr_multiplier, model, optimizer, train

model.criterion.update(get_config("common/stable_matching.py").criterion)
train.output_dir = "output/demo_stable"
