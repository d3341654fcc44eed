"""StageInteractor, R101, 100 queries, 36 epochs, short sides 480 to 800."""

from .stageinteractor_r50_mstrain_3x import (
    dataloader,
    dataset,
    lr_multiplier,
    model,
    optimizer,
    train,
)

model.backbone.stages.depth = 101
train.backbone_weights = "datasets/weights/resnet101.pth"  # stageinteractor weights resnet101
train.output_dir = "output/stageinteractor_r101_mstrain_3x"
