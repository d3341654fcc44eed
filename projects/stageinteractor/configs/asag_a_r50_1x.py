"""ASAG-A, R50, about 100 anchors, 12 epochs on COCO, one image size."""

import torch
from detectron2.config import LazyCall as L

from stageinteractor import get_config
from stageinteractor.engine.optim import param_groups

from .models.asag_a_r50 import model

dataset = get_config("common/data/coco.py").dataset
dataloader = get_config("common/data/coco.py").dataloader
lr_multiplier = get_config("common/schedule.py").step_1x
lr_multiplier.warmup_factor = 1 / 3
train = get_config("common/train.py").train

optimizer = L(torch.optim.AdamW)(
    params=L(param_groups)(lr="${..lr}", backbone_lr_factor=0.1, no_decay=[]),
    lr=2e-4,  # for 16 images per step
    betas=(0.9, 0.999),
    weight_decay=1e-4,
)
train.clip_grad.params.max_norm = 0.1
train.backbone_weights = "datasets/weights/resnet50.pth"  # stageinteractor weights resnet50
train.output_dir = "output/asag_a_r50_1x"
train.epochs = 12  # 12 x 7,330 = 87,960 iterations; drops at 8 x and 11 x 7,330
train.eval_period = train.checkpointer.period = 7330  # an epoch: 117,266 annotated images / 16
