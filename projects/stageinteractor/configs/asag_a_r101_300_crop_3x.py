"""ASAG-A, R101, about 300 anchors, 36 epochs, short sides 640 to 800 and crops."""

from .asag_a_r50_300_crop_3x import dataloader, dataset, lr_multiplier, model, optimizer, train

model.backbone.stages.depth = 101
train.backbone_weights = "datasets/weights/resnet101.pth"  # stageinteractor weights resnet101
train.output_dir = "output/asag_a_r101_300_crop_3x"
