"""Data loaders whose training order can be resumed at any batch.

The seed and the number of a batch decide which images it holds and how they are augmented. Worker
processes read and augment the images. For a GPU, batches are put into pinned memory, so that they
are copied while the GPU computes.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from detectron2.data import DatasetFromList, MapDataset
from detectron2.data.samplers import InferenceSampler, TrainingSampler
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset, Sampler

from ..errors import ConfigError
from ..randomness import random_by_key
from .shared_memory import in_shared_memory, require_shared_memory

GRACE = 60  # seconds
Record = dict[str, Any]
SampleIndex = tuple[int, int]  # position in the endless order of all ranks, index of its image


class TrainingBatches(Sampler[list[SampleIndex]]):
    """Endless shuffled batches of this rank, from any batch on.

    All ranks share one order of the images; rank r of R takes every R-th image from the r-th on.

    Args:
        groups: a number for every image; a batch holds images of one group.
        batch_size: images of a batch on this rank.
        seed: of the shuffle; the same on all ranks.
        first: how many batches to skip.
    """

    def __init__(
        self, groups: Sequence[int], batch_size: int, seed: int = 0, first: int = 0
    ) -> None:
        self.groups = groups
        self.batch_size = batch_size
        self.order = TrainingSampler(len(groups), shuffle=True, seed=seed)
        self.first = first

    def __iter__(self) -> Iterator[list[SampleIndex]]:
        return itertools.islice(self._from_the_start(), self.first, None)

    def _from_the_start(self) -> Iterator[list[SampleIndex]]:
        positions = itertools.count(comm.get_rank(), comm.get_world_size())
        waiting: dict[int, list[SampleIndex]] = {group: [] for group in set(self.groups)}
        for sample in zip(positions, self.order, strict=False):
            batch = waiting[self.groups[sample[1]]]
            batch.append(sample)
            if len(batch) == self.batch_size:
                yield batch.copy()
                batch.clear()


class TrainingImages(Dataset[Record]):
    """Mapped records; the augmentation depends on the seed and the position alone."""

    def __init__(
        self, dataset: list[Record], mapper: Callable[[Record], Record], seed: int
    ) -> None:
        self.mapped = MapDataset(DatasetFromList(dataset, copy=False), mapper)
        self.seed = seed

    def __getitem__(self, sample: SampleIndex) -> Record:
        position, index = sample
        with random_by_key(self.seed, position):
            return self.mapped[index]


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
) -> DataLoader[Record]:
    """Return an endless loader of batches (lists of mapped records) for this rank.

    Args:
        dataset: detectron2 dataset dicts.
        mapper: record -> model input.
        total_batch_size: images of a batch over all ranks.
        num_workers: worker processes per rank. One of them reads about 50 images of COCO's size a
            second.
        aspect_ratio_grouping: do not mix portrait and landscape images in a batch (less padding).
        first_batch: number of batches to skip when training is resumed; the following ones are the
            same as without the interruption.

    Raises:
        ConfigError: the batch cannot be split evenly over the ranks.
        OutputError: there is no shared memory for the processes.
    """
    world_size = comm.get_world_size()
    if total_batch_size < 1 or total_batch_size % world_size:
        raise ConfigError(
            f"dataloader.train.total_batch_size is {total_batch_size}: it must be a multiple of "
            f"the number of processes, {world_size}"
        )
    require_shared_memory(num_workers)
    groups = [aspect_ratio_grouping and item["width"] > item["height"] for item in dataset]
    batches = TrainingBatches(groups, total_batch_size // world_size, seed, first_batch)
    return DataLoader(
        TrainingImages(dataset, mapper, seed),
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=in_shared_memory,
        worker_init_fn=_delay_sigterm,
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
        batch_size: images of a batch on this rank; the last batch may have fewer.

    Raises:
        OutputError: there is no shared memory for the processes.
    """
    require_shared_memory(num_workers)
    return DataLoader(
        MapDataset(DatasetFromList(dataset, copy=False), mapper),
        batch_size=batch_size,
        sampler=InferenceSampler(len(dataset)),
        num_workers=num_workers,
        collate_fn=in_shared_memory,
        worker_init_fn=_delay_sigterm,
        pin_memory=_is_gpu(device),
    )


def _delay_sigterm(worker: int) -> None:
    """Let a worker process outlive SIGTERM by `GRACE` seconds.

    A cluster sends SIGTERM to all processes of a job; training finishes its iteration first.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE))


def _is_gpu(device: str) -> bool:
    return device != "cpu" and torch.cuda.is_available()
