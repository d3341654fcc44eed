"""Where reading processes hand images over, when there is no room."""

import pytest
import torch
from detectron2.structures import Boxes, Instances

from stageinteractor.data import shared_memory
from stageinteractor.data.loaders import build_test_loader
from stageinteractor.errors import OutputError


def record(index: int) -> dict:
    instances = Instances((4, 4))
    instances.gt_boxes = Boxes(torch.ones(2, 4))
    instances.gt_classes = torch.ones(2, dtype=torch.long)
    image, none = torch.ones(3, 4, 4), torch.ones(0)
    return {"image": image, "none": none, "instances": instances, "file_name": str(index)}


@pytest.fixture
def full(monkeypatch):
    def no_room(self):
        raise RuntimeError("unable to allocate: No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", no_room)


def loader(num_workers):
    return build_test_loader(dataset=[0, 1], mapper=record, num_workers=num_workers)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_batches_arrive_whole(num_workers):
    (item,), _ = loader(num_workers)
    assert torch.equal(item["image"], torch.ones(3, 4, 4))
    assert item["image"].is_shared() == bool(num_workers)
    assert item["instances"].gt_boxes.tensor.is_shared() == bool(num_workers)


def test_a_full_shared_memory_reaches_the_reader(full, monkeypatch):
    monkeypatch.setattr("stageinteractor.data.loaders.require_shared_memory", lambda number: None)
    with pytest.raises(OutputError, match=r"/dev/shm: .*No space left.*--shm-size"):
        list(loader(1))


def test_none_at_all_is_refused_before_reading(full):
    with pytest.raises(OutputError, match=r"/dev/shm: .*num_workers=0"):
        loader(1)
    assert len(list(loader(0))) == 2


def test_locks_that_cannot_be_made_are_refused(monkeypatch):
    def read_only():
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(shared_memory.torch.multiprocessing, "Lock", read_only)
    with pytest.raises(OutputError, match="/dev/shm: .*Read-only"):
        loader(1)
