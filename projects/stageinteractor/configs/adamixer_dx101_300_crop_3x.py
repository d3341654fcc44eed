"""AdaMixer, ResNeXt-101 32x4d with DCN, 300 queries, 36 epochs, multi-scale and crops."""

from .adamixer_r50_300_crop_3x import dataloader, dataset, lr_multiplier, model, optimizer, train
from .models.stageinteractor_dx101 import model as _dx101

model.backbone = _dx101.backbone
train.backbone_weights = "datasets/weights/resnext101_32x4d.pth"  # stageinteractor weights
train.output_dir = "output/adamixer_dx101_300_crop_3x"
