"""Data loaders: detectron2's, with a training order that can be taken up again in the middle.

Other processes read and augment the images. For a GPU they are then put into pinned memory, from
where they are copied to it while it works.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from detectron2.data import DatasetFromList, MapDataset, build_detection_train_loader
from detectron2.data.build import trivial_batch_collator
from detectron2.data.samplers import InferenceSampler, TrainingSampler
from detectron2.utils import comm
from torch.utils.data import DataLoader

from ..errors import ConfigError

Record = dict[str, Any]


class ResumableSampler(TrainingSampler):
    """An endless shuffled order of indices that can begin after those already used.

    Args:
        size: number of images.
        seed: of the shuffle; the same on all ranks.
        first: how many indices to skip, over all ranks.
    """

    def __init__(self, size: int, seed: int, first: int = 0) -> None:
        super().__init__(size, shuffle=True, seed=seed)
        self.first = first

    def __iter__(self) -> Iterator[int]:
        start = self.first + self._rank
        return itertools.islice(self._infinite_indices(), start, None, self._world_size)


def build_train_loader(
    *,
    dataset: list[Record],
    mapper: Callable[[Record], Record],
    total_batch_size: int,
    num_workers: int = 4,
    aspect_ratio_grouping: bool = True,
    seed: int = 0,
    first_batch: int = 0,
    device: str = "cpu",
) -> Iterable[list[Record]]:
    """Return an endless loader of batches (lists of mapped records) for this rank.

    Args:
        dataset: detectron2 dataset dicts.
        mapper: record -> model input.
        total_batch_size: images of a batch over all ranks.
        num_workers: processes that read images, for each rank. One of them reads some 50 images a
            second of COCO's size.
        aspect_ratio_grouping: do not mix upright and wide images in a batch (less padding).
        seed: of order and augmentation.
        first_batch: number of batches to skip, when training is resumed.
        device: where the model is.

    Raises:
        ConfigError: the batch cannot be split evenly over the ranks.
    """
    world_size = comm.get_world_size()
    if total_batch_size < 1 or total_batch_size % world_size:
        raise ConfigError(
            f"dataloader.train.total_batch_size is {total_batch_size}: it must be a multiple of "
            f"the number of processes, {world_size}"
        )
    sampler = ResumableSampler(len(dataset), seed, first_batch * total_batch_size)
    return build_detection_train_loader(
        dataset,
        mapper=mapper,
        sampler=sampler,
        total_batch_size=total_batch_size,
        aspect_ratio_grouping=aspect_ratio_grouping,
        num_workers=num_workers,
        seed=seed + first_batch,
        pin_memory=_is_gpu(device),
    )


def build_test_loader(
    *,
    dataset: list[Record],
    mapper: Callable[[Record], Record],
    batch_size: int = 1,
    num_workers: int = 4,
    device: str = "cpu",
) -> DataLoader[Record]:
    """Return a loader of this rank's part of a set, in order, each image once.

    detectron2's own, `build_detection_test_loader`, cannot pin memory.

    Args:
        dataset: detectron2 dataset dicts.
        mapper: record -> model input.
        batch_size: images of a batch on this rank; the last batch may have fewer.
        num_workers: processes that read images, for each rank.
        device: where the model is.
    """
    return DataLoader(
        MapDataset(DatasetFromList(dataset, copy=False), mapper),
        batch_size=batch_size,
        sampler=InferenceSampler(len(dataset)),
        num_workers=num_workers,
        collate_fn=trivial_batch_collator,
        pin_memory=_is_gpu(device),
    )


def _is_gpu(device: str) -> bool:
    return device != "cpu" and torch.cuda.is_available()
