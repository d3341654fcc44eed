"""The embedded set of digits in photographs: stageinteractor datasets digits_in_photos."""

from .coco_format import dataloader, dataset

dataset.name = "digits_in_photos"
for _split in ("train", "val"):
    dataset[_split] = dict(
        json=f"datasets/digits_in_photos/{_split}.json",
        images=f"datasets/digits_in_photos/{_split}",
    )

# 128x128 as they are; no flip, a mirrored digit is none.
dataloader.train.mapper.augmentations = []
dataloader.test.mapper.augmentations = []
dataloader.train.total_batch_size = 8
dataloader.train.num_workers = 0
dataloader.train.aspect_ratio_grouping = False
dataloader.test.batch_size = 25
dataloader.test.num_workers = 0
