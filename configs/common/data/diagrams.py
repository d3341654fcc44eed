"""Hand-drawn process diagrams (hdBPMN): stageinteractor datasets diagrams --from CLONE."""

from detectron2.config import LazyCall as L
from detectron2.data import transforms as T

from stageinteractor.data.augmentation import OneOf

from .coco_format import dataloader, dataset

dataset.name = "diagrams"
for _split in ("train", "val"):
    dataset[_split] = dict(
        json=f"datasets/diagrams/{_split}.json", images=f"datasets/diagrams/{_split}"
    )

# The long side counts, as a diagram may be five times as wide as high. No flip: a diagram is read
# from left to right.
dataloader.train.mapper.augmentations = [
    L(T.RandomBrightness)(intensity_min=0.8, intensity_max=1.2),
    L(T.RandomContrast)(intensity_min=0.8, intensity_max=1.2),
    L(OneOf)(
        chains=[
            [L(T.ResizeShortestEdge)(short_edge_length=_side, max_size=_side)]
            for _side in (448, 480, 512, 544)
        ]
    ),
]
dataloader.test.mapper.augmentations = [
    L(T.ResizeShortestEdge)(short_edge_length=512, max_size=512)
]
dataloader.train.total_batch_size = 8
dataloader.train.num_workers = 0
dataloader.train.aspect_ratio_grouping = False
dataloader.test.num_workers = 0
