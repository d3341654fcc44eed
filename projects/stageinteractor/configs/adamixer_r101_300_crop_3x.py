"""AdaMixer, R101, 300 queries, 36 epochs, multi-scale and crops."""

from .adamixer_r50_300_crop_3x import dataloader, dataset, lr_multiplier, model, optimizer, train

model.backbone.stages.depth = 101
train.backbone_weights = "datasets/weights/resnet101.pth"  # stageinteractor weights resnet101
train.output_dir = "output/adamixer_r101_300_crop_3x"
