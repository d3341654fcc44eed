"""What the recipes of this folder share: detrex's settings for 12 epochs, under our trainer."""

from detectron2.config import LazyCall as L
from torch.optim import AdamW

from stageinteractor import get_config
from stageinteractor.engine.optim import param_groups

_data = get_config("common/data/coco.py")
dataset = _data.dataset
dataloader = _data.dataloader
dataloader.train.mapper.augmentations = _data.augmentation.multi_scale_and_crop
dataloader.train.total_batch_size = 16

optimizer = L(AdamW)(
    params=L(param_groups)(lr="${..lr}", backbone_lr_factor=0.1, no_decay=["norm"]),
    lr=1e-4,
    betas=(0.9, 0.999),
    weight_decay=1e-4,
)
lr_multiplier = get_config("common/schedule.py").step_1x_detr

train = get_config("common/train.py").train
train.backbone_weights = "datasets/weights/resnet50.pth"  # stageinteractor weights resnet50
train.clip_grad.params.max_norm = 0.1
train.epochs = 12  # 12 x 7,330 = 87,960 iterations; drop at 11 x 7,330
train.eval_period = train.checkpointer.period = 7330  # an epoch: 117,266 annotated images / 16
