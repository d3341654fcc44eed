"""Blood cells under the microscope (BCCD): stageinteractor datasets blood_cells --from CLONE."""

from detectron2.config import LazyCall as L
from detectron2.data import transforms as T

from .coco_format import dataloader, dataset

dataset.name = "blood_cells"
for _split in ("train", "val"):
    dataset[_split] = dict(
        json=f"datasets/blood_cells/{_split}.json", images=f"datasets/blood_cells/{_split}"
    )

# 640x480 pixels, reduced to 341x256; a cell has no upper side.
dataloader.train.mapper.augmentations = [
    L(T.RandomFlip)(prob=0.5, horizontal=True, vertical=False),
    L(T.RandomFlip)(prob=0.5, horizontal=False, vertical=True),
    L(T.RandomBrightness)(intensity_min=0.8, intensity_max=1.2),
    L(T.ResizeShortestEdge)(short_edge_length=[192, 224, 256, 288], sample_style="choice"),
]
dataloader.test.mapper.augmentations = [L(T.ResizeShortestEdge)(short_edge_length=256)]
dataloader.train.total_batch_size = 8
dataloader.train.num_workers = 0
dataloader.train.aspect_ratio_grouping = False
dataloader.test.num_workers = 0
