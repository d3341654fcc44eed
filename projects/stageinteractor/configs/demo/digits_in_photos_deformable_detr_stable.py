"""Hugging Face's Deformable DETR with the assigner and stable matching together."""

from detectron2.config import LazyCall as L

from stageinteractor import get_config
from stageinteractor.integrations.host_matcher import PositionModulatedHostMatcher

from .digits_in_photos_deformable_detr import (
    dataloader,
    dataset,
    lr_multiplier,
    model,
    optimizer,
    train,
)

model.assigner = get_config("common/stable_matching.py").criterion.assigner
model.class_loss = get_config("common/class_loss.py").cross_stage_position_supervised
model.matcher = L(PositionModulatedHostMatcher)(
    cost_class=1.0, cost_bbox=5.0, cost_giou=2.0, exponent=0.5
)
model.normalizer = "host"
train.output_dir = "output/demo_deformable_stable"
