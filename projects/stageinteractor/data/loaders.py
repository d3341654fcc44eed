"""Data loaders whose training order can be resumed at any batch.

The seed and the number of a batch decide which images it holds and how they are augmented. Worker
processes read and augment the images. For a GPU, batches are put into pinned memory, so that they
are copied while the GPU computes.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from detectron2.data import DatasetFromList, MapDataset
from detectron2.data.samplers import (
    InferenceSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from detectron2.utils import comm
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..errors import ConfigError
from ..randomness import random_by_key
from .mixing import Mixing
from .presets import with_preset
from .shared_memory import in_shared_memory, require_shared_memory

GRACE = 60  # seconds
MAX_AUTO_WORKERS = 8  # a GPU that trains is busy with fewer
MASKS = "masks", "use_instance_mask"  # of our mapper, of detectron2's
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
        repeat_factors: (images,), how often an image comes in an epoch on average; None: once.
    """

    def __init__(
        self,
        groups: Sequence[int],
        batch_size: int,
        seed: int = 0,
        first: int = 0,
        repeat_factors: Tensor | None = None,
    ) -> None:
        self.groups = groups
        self.batch_size = batch_size
        self.order: Iterable[int]
        if repeat_factors is None:
            self.order = TrainingSampler(len(groups), shuffle=True, seed=seed)
        else:
            self.order = RepeatFactorTrainingSampler(repeat_factors, shuffle=True, seed=seed)
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
        self.mapper = mapper
        self.seed = seed
        self.mixing: Mixing | None = None
        self.mixed_images: int | None = None  # of the training; None: all

    def mix(self, names: Sequence[str], mixed_images: int | None) -> None:
        """Let mosaic and mixup, those that are named, make the first images of the training.

        Raises:
            ConfigError: the mapper returns masks, which are not mixed.
        """
        used = {name: name in names for name in ("mosaic", "mixup")}
        if any(used.values()):
            if any(getattr(self.mapper, key, False) for key in MASKS):
                raise ConfigError(
                    "dataloader.train.augment: mosaic and mixup are for boxes, not for masks: "
                    "leave them out"
                )
            self.mixing = Mixing(self.mapped.__getitem__, len(self.mapped), **used)
            self.mixed_images = mixed_images

    def __getitem__(self, sample: SampleIndex) -> Record:
        position, index = sample
        is_early = self.mixed_images is None or position < self.mixed_images
        with random_by_key(self.seed, position):
            if self.mixing is not None and is_early:
                return self.mixing(index)
            return self.mapped[index]


def build_train_loader(
    *,
    dataset: list[Record],
    mapper: Callable[[Record], Record],
    total_batch_size: int,
    num_workers: int | str = 4,
    aspect_ratio_grouping: bool = True,
    repeat_threshold: float | None = None,
    augment: Sequence[str] | None = None,
    mixed_batches: int | None = None,
    seed: int = 0,
    first_batch: int = 0,
    device: str = "cpu",
) -> DataLoader[Record]:
    """Return an endless loader of batches (lists of mapped records) for this rank.

    Args:
        dataset: detectron2 dataset dicts.
        mapper: record -> model input.
        total_batch_size: images of a batch over all ranks.
        num_workers: worker processes per rank; "auto" shares the cores among the ranks of the
            machine. One of them reads about 50 images of COCO's size a second.
        aspect_ratio_grouping: do not mix portrait and landscape images in a batch (less padding).
        first_batch: number of batches to skip when training is resumed; the following ones are the
            same as without the interruption.
        repeat_threshold: share of images with a class below which its images are repeated, a class
            of share f by sqrt(threshold / f) (Gupta et al., LVIS, CVPR 2019, appendix B.2).
        augment: names of `presets.NAMES` in place of the mapper's augmentations; its sizes are
            kept. []: only a resize; None: the mapper's own.
        mixed_batches: mosaic and mixup are used in so many batches, then no more; None: in all.

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
    num_workers = worker_count(num_workers)
    require_shared_memory(num_workers)
    groups = [aspect_ratio_grouping and item["width"] > item["height"] for item in dataset]
    repeats = repeat_factors(dataset, repeat_threshold)
    batches = TrainingBatches(groups, total_batch_size // world_size, seed, first_batch, repeats)
    images = TrainingImages(
        dataset, mapper if augment is None else with_preset(mapper, augment), seed
    )
    images.mix(augment or (), mixed_batches and mixed_batches * total_batch_size)
    return DataLoader(
        images,
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
    num_workers: int | str = 4,
    device: str = "cpu",
) -> DataLoader[Record]:
    """Return a loader of this rank's part of a set, in order, each image once.

    detectron2's own, `build_detection_test_loader`, cannot pin memory.

    Args:
        batch_size: images of a batch on this rank; the last batch may have fewer.

    Raises:
        OutputError: there is no shared memory for the processes.
    """
    num_workers = worker_count(num_workers)
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


def first_samples(loader: Any, count: int) -> list[Record]:
    """Return the first mapped records of a loader of ours, read by this process; else none."""
    images = getattr(loader, "dataset", None)
    if not isinstance(images, TrainingImages):
        return []
    samples = itertools.chain.from_iterable(loader.batch_sampler)
    return [images[sample] for sample in itertools.islice(samples, count)]


def worker_count(setting: int | str) -> int:
    """Return the number of data-loading processes of this rank; "auto": one core is left to it."""
    if setting != "auto":
        return int(setting)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(max((cores or 1) // comm.get_local_size() - 1, 0), MAX_AUTO_WORKERS)


def repeat_factors(dataset: Sequence[Record], threshold: float | None) -> Tensor | None:
    """Return the repeat factor of every image, at least 1; None without a threshold."""
    if threshold is None:
        return None
    return RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(dataset, threshold)


def _delay_sigterm(worker: int) -> None:
    """Let a worker process outlive SIGTERM by `GRACE` seconds.

    A cluster sends SIGTERM to all processes of a job; training finishes its iteration first.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE))


def _is_gpu(device: str) -> bool:
    return device != "cpu" and torch.cuda.is_available()
