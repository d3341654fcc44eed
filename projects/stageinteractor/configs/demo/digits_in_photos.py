"""A small StageInteractor on the embedded set: trains on two CPU cores in minutes (`make demo`)."""

from detectron2.config import LazyCall as L

from stageinteractor import get_config
from stageinteractor.modeling.backbones import TimmBackbone

from ..models.stageinteractor_r50 import model

dataset = get_config("common/data/digits_in_photos.py").dataset
dataloader = get_config("common/data/digits_in_photos.py").dataloader
optimizer = get_config("common/optim.py").optimizer
lr_multiplier = get_config("common/schedule.py").one_cycle
train = get_config("common/train.py").train

model.backbone = L(TimmBackbone)(
    name="tf_efficientnet_lite0",
    weights="datasets/weights/efficientnet_lite0.pth",  # stageinteractor weights
    fixed_statistics=False,  # small images, far from ImageNet's: the statistics adapt
)
model.neck.in_channels = [24, 40, 112, 320]
model.queries.num_queries = 30
model.decoder.update(
    num_stages=4,
    embed_dim=128,
    feedforward_dim=512,
    first_point_groups=4,
    point_groups=4,
    points_per_group=4,
    out_points=32,
)
model.pixel_mean = model.pixel_std = [127.5, 127.5, 127.5]

# A short training: larger steps than the published ones, a shorter memory, a looser clip.
optimizer.lr = 4e-4
optimizer.betas = (0.9, 0.99)
train.clip_grad.params.max_norm = 10.0
train.scale_lr.base_batch_size = 8
train.output_dir = "output/demo"
train.max_iter = 1300
train.eval_period = train.checkpointer.period = 325
train.checkpointer.max_to_keep = 1
