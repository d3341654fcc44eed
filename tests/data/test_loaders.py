"""The order of training images, also after a resumption and over several processes."""

import random
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.utils import comm

from stageinteractor.data.loaders import build_test_loader, build_train_loader, worker_count
from stageinteractor.errors import ConfigError

RECORDS = [{"image_id": number, "height": 40, "width": 60} for number in range(7)]


def unchanged(record: dict[str, Any]) -> dict[str, Any]:
    return record


def batches(count: int, total_batch_size: int = 2, **settings: Any) -> list[list[int]]:
    """Image ids of the first batches."""
    settings = {"aspect_ratio_grouping": False, "dataset": RECORDS, **settings}
    loader = build_train_loader(
        mapper=unchanged, total_batch_size=total_batch_size, num_workers=0, **settings
    )
    return [[record["image_id"] for record in batch] for batch in islice(loader, count)]


@pytest.fixture
def on_rank(monkeypatch: pytest.MonkeyPatch):
    """Pretend to be one of several processes."""

    def pretend(rank: int, world_size: int) -> None:
        monkeypatch.setattr(comm, "get_rank", lambda: rank)
        monkeypatch.setattr(comm, "get_world_size", lambda: world_size)

    return pretend


def order(count: int, **settings: Any) -> list[int]:
    """Ids of the first images."""
    return [number for batch in batches(count, total_batch_size=1, **settings) for number in batch]


@pytest.mark.parametrize("first", [0, 1, 3, 4, 10])
@pytest.mark.parametrize("grouping", [False, True])
def test_first_batch_continues_the_batches_of_an_earlier_run(first: int, grouping: bool):
    upright = [{"image_id": number, "height": 60, "width": 40} for number in range(7, 12)]
    settings = dict(seed=2, dataset=RECORDS + upright, aspect_ratio_grouping=grouping)
    assert batches(5, first_batch=first, **settings) == batches(first + 5, **settings)[first:]


@pytest.mark.parametrize("first", [0, 3])
def test_ranks_share_one_order(on_rank: Any, first: int):
    whole = batches(20, total_batch_size=2, seed=3)[first:]
    for rank in range(2):
        on_rank(rank, 2)
        mine = batches(17, total_batch_size=2, seed=3, first_batch=first)
        assert mine == [batch[rank : rank + 1] for batch in whole][:17]


def draw(record: dict[str, Any]) -> dict[str, Any]:
    """Stand for an augmentation that uses every generator."""
    drawn = (random.random(), np.random.rand(), torch.rand(()).item())
    return record | {"drawn": drawn}


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_augmentation_does_not_depend_on_the_processes(workers: int):
    def drawn(first: int, count: int, workers: int) -> list[tuple[float, ...]]:
        loader = build_train_loader(
            dataset=RECORDS,
            mapper=draw,
            total_batch_size=2,
            num_workers=workers,
            first_batch=first,
            seed=4,
        )
        return [item["drawn"] for batch in islice(loader, count) for item in batch]

    whole = drawn(0, 8, 0)
    assert len(set(whole)) == 16  # also of an image that comes again
    assert drawn(0, 8, workers) == whole
    assert drawn(5, 3, workers) == whole[10:]


def seed_all() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


def test_reading_leaves_the_generators_of_the_training_alone():
    loader = build_train_loader(dataset=RECORDS, mapper=draw, total_batch_size=2, num_workers=0)
    images = iter(loader)
    seed_all()
    expected = draw({})
    seed_all()
    first, second = next(images), next(images)
    assert draw({}) == expected
    assert first[0]["drawn"] != second[0]["drawn"]


def test_grouping_does_not_mix_upright_and_wide_images():
    upright = [{"image_id": number, "height": 60, "width": 40} for number in range(7, 14)]
    mixed = {"dataset": RECORDS + upright, "total_batch_size": 4}
    for batch in batches(12, aspect_ratio_grouping=True, **mixed):
        assert len({number < 7 for number in batch}) == 1
    assert any(len({number < 7 for number in batch}) == 2 for batch in batches(12, **mixed))


@pytest.mark.parametrize("size", [0, -4])
def test_batch_without_images_is_refused(size: int):
    with pytest.raises(ConfigError, match=rf"dataloader\.train\.total_batch_size is {size}: "):
        batches(1, total_batch_size=size)


def test_batch_that_cannot_be_shared_evenly_is_refused(on_rank: Any):
    on_rank(0, 3)
    with pytest.raises(ConfigError, match="total_batch_size is 8: .* number of processes, 3"):
        batches(1, total_batch_size=8)


@pytest.mark.parametrize(("rank", "expected"), [(0, [[0, 1, 2], [3]]), (1, [[4, 5, 6]])])
def test_testing_sees_every_image_once_in_order(rank: int, expected: list[list[int]], on_rank: Any):
    on_rank(rank, 2)
    loader = build_test_loader(dataset=RECORDS, mapper=unchanged, batch_size=3, num_workers=0)
    assert [[record["image_id"] for record in batch] for batch in loader] == expected


@pytest.mark.parametrize(
    ("device", "has_gpu", "expected"),
    [("cuda", True, True), ("cpu", True, False), ("cuda", False, False)],
)
def test_memory_is_pinned_for_a_gpu(device: str, has_gpu: bool, expected: bool, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    settings = dict(dataset=RECORDS, mapper=unchanged, num_workers=0, device=device)
    train = build_train_loader(total_batch_size=2, aspect_ratio_grouping=False, **settings)
    grouped = build_train_loader(total_batch_size=2, **settings)
    test = build_test_loader(**settings)
    assert train.pin_memory == grouped.pin_memory == test.pin_memory == expected


def test_images_of_rare_classes_come_more_often():
    """Class 1 is in 1 of 8 images: with the threshold 1/2 it is repeated sqrt(4) = 2 times."""
    records = [
        {"image_id": n, "height": 4, "width": 6, "annotations": [{"category_id": int(n == 7)}]}
        for n in range(8)
    ]
    ids = order(90, dataset=records, repeat_threshold=0.5, seed=1)  # 10 epochs of 9 images
    assert ids.count(7) == 20 and ids.count(0) == 10
    settings = dict(dataset=records, repeat_threshold=0.5, seed=1)
    assert order(40, first_batch=50, **settings) == ids[50:]
    assert set(order(8, dataset=records, seed=1)) == set(range(8))  # without it: each once


@pytest.mark.parametrize(("cores", "ranks", "count"), [(1, 1, 0), (4, 1, 3), (8, 4, 1), (64, 2, 8)])
def test_automatic_workers_leave_a_core_to_the_rank(monkeypatch, cores, ranks, count):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(cores))
    monkeypatch.setattr(comm, "get_local_size", lambda: ranks)
    assert worker_count("auto") == count
    assert worker_count(5) == 5
