"""StageInteractor, R50, 100 queries, 12 epochs on COCO, one image size."""

from stageinteractor import get_config

from .models.stageinteractor_r50 import model

dataset = get_config("common/data/coco.py").dataset
dataloader = get_config("common/data/coco.py").dataloader
optimizer = get_config("common/optim.py").optimizer
lr_multiplier = get_config("common/schedule.py").step_1x
train = get_config("common/train.py").train

train.backbone_weights = "datasets/weights/resnet50.pth"  # stageinteractor weights resnet50
train.output_dir = "output/stageinteractor_r50_1x"
train.epochs = 12  # 12 x 7,330 = 87,960 iterations; drops at 8 x and 11 x 7,330
train.eval_period = train.checkpointer.period = 7330  # an epoch: 117,266 annotated images / 16
