"""COCO 2017 under $DETECTRON2_DATASETS, with the published augmentations."""

import os

from detectron2.config import LazyCall as L
from detectron2.data import transforms as T

from stageinteractor.data.augmentation import OneOf

from .coco_format import dataloader, dataset

_root = os.path.join(os.environ.get("DETECTRON2_DATASETS", "datasets"), "coco")
dataset.name = "coco_2017"
for _split in ("train", "val"):
    dataset[_split] = dict(
        json=f"{_root}/annotations/instances_{_split}2017.json", images=f"{_root}/{_split}2017"
    )

_sizes = list(range(480, 801, 32))  # 11 short sides: 480, 512, ..., 800
_flip = L(T.RandomFlip)(prob=0.5)
_any_size = L(T.ResizeShortestEdge)(short_edge_length=_sizes, max_size=1333, sample_style="choice")
_small = L(T.ResizeShortestEdge)(
    short_edge_length=[400, 500, 600], max_size=1333, sample_style="choice"
)
_crop = L(T.RandomCrop)(crop_type="absolute_range", crop_size=[384, 600])

augmentation = dict(
    multi_scale=[_flip, _any_size],
    multi_scale_and_crop=[_flip, L(OneOf)(chains=[[_any_size], [_small, _crop, _any_size]])],
)
