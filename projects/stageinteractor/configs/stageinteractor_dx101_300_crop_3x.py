"""StageInteractor, ResNeXt-101 32x4d with DCN, 300 queries, 36 epochs, multi-scale and crops."""

from .models.stageinteractor_dx101 import model
from .stageinteractor_r50_300_crop_3x import (
    dataloader,
    dataset,
    lr_multiplier,
    optimizer,
    train,
)

model.queries.num_queries = 300
train.backbone_weights = "datasets/weights/resnext101_32x4d.pth"  # stageinteractor weights
train.output_dir = "output/stageinteractor_dx101_300_crop_3x"
