"""ASAG-A, R50, about 100 anchors, 36 epochs, short sides 640 to 800 and crops."""

from detectron2.config import LazyCall as L
from detectron2.data import transforms as T

from stageinteractor import get_config
from stageinteractor.data.augmentation import OneOf

from .asag_a_r50_1x import dataloader, dataset, model, optimizer, train

_resize = L(T.ResizeShortestEdge)(
    short_edge_length=list(range(640, 801, 32)), max_size=1333, sample_style="choice"
)
_small = L(T.ResizeShortestEdge)(
    short_edge_length=[400, 500, 600], max_size=1333, sample_style="choice"
)
_crop = L(T.RandomCrop)(crop_type="absolute_range", crop_size=[384, 600])
dataloader.train.mapper.augmentations = [
    L(T.RandomFlip)(prob=0.5),
    L(OneOf)(chains=[[_resize], [_small, _crop, _resize]]),
]
lr_multiplier = get_config("common/schedule.py").step_3x_300_queries  # drops at 24 and 33
lr_multiplier.warmup_factor = 1 / 3
train.epochs = 36  # 36 x 7,330 = 263,880 iterations
train.output_dir = "output/asag_a_r50_crop_3x"
