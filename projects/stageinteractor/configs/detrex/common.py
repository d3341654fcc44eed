"""What the recipes of this folder share: detrex's settings for 12 epochs, for its trainer and ours.

Written as detrex's own recipes are; our trainer completes what it needs beside them.
"""

from detrex.config import get_config

from stageinteractor.integrations.detrex import backbone_lr_factor

dataloader = get_config("common/data/coco_detr.py").dataloader
dataloader.train.num_workers = 16
dataloader.train.total_batch_size = 16
dataloader.evaluator.output_dir = "${train.output_dir}"

optimizer = get_config("common/optim.py").AdamW
optimizer.lr = 1e-4
optimizer.betas = (0.9, 0.999)
optimizer.weight_decay = 1e-4
optimizer.params.lr_factor_func = backbone_lr_factor

lr_multiplier = get_config("common/coco_schedule.py").lr_multiplier_12ep

train = get_config("common/train.py").train
train.init_checkpoint = "detectron2://ImageNetPretrained/torchvision/R-50.pkl"
train.max_iter = 90000
train.eval_period = train.checkpointer.period = 5000
train.clip_grad.enabled = True
train.clip_grad.params.max_norm = 0.1
train.clip_grad.params.norm_type = 2
