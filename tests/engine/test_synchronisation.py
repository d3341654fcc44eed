"""How often the host waits for the device in a whole training step, and at inference."""

import pytest
import torch
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from device_to_host import HostCopies, without_autocast

from stageinteractor.config import instantiate
from stageinteractor.engine.optim import ClampedAdamW
from stageinteractor.engine.trainer import Trainer

SIZES = [(64, 80), (60, 70)]


@pytest.fixture
def model(tiny_config, monkeypatch):
    """The demo's detector, made tiny, on a device whose tensors have no values."""
    without_autocast(monkeypatch)
    cfg = tiny_config.copy()
    cfg.dataset.num_classes = 3
    return instantiate(cfg.model, "model").to("meta")


def labelled(size: tuple[int, int], count: int) -> dict:
    instances = Instances(size)
    instances.gt_boxes = Boxes(torch.tensor([[4.0, 4, 20, 30]]).expand(count, -1))
    instances.gt_classes = torch.zeros(count, dtype=torch.long)
    pixels = torch.zeros(3, *size, dtype=torch.uint8)
    return {"image": pixels, "instances": instances, "image_id": count}


BATCH = [labelled(size, count) for size, count in zip(SIZES, (2, 0), strict=True)]


def test_training_step_waits_once_for_the_device(model):
    with HostCopies() as copies:
        losses = model.train()(BATCH)
        torch.stack(list(losses.values())).sum().backward()
    assert (copies.waiting, copies.beside) == (1, 0)  # the matching costs
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_trainer_adds_asynchronous_copies_only(accumulate: int, model):
    """The losses: looked at before the optimiser steps, and what is logged; and the norm.

    Accumulated batches are matched twice: first to count their labels, then for the losses.
    """
    optimizer = ClampedAdamW(model.parameters(), lr=1e-4)
    trainer = Trainer(
        model.train(),
        iter([BATCH] * accumulate),
        optimizer,
        accumulate=accumulate,
        clip_grad={"max_norm": 1.0, "norm_type": 2.0},
    )
    with EventStorage(0) as trainer.storage, HostCopies() as copies:
        trainer.iter = 0
        trainer.run_step()
    passes = 1 if accumulate == 1 else 2 * accumulate
    assert (copies.waiting, copies.beside) == (passes, accumulate + 1)
    assert "total_loss" in trainer.storage.latest()


def test_inference_never_waits_for_the_device(model):
    with HostCopies() as copies:
        results = model.eval()(
            [{"image": item["image"], "height": 200, "width": 100} for item in BATCH]
        )
    assert (copies.waiting, copies.beside) == (0, 0)
    for result in results:
        assert result["instances"].image_size == (200, 100)
        assert result["instances"].pred_boxes.tensor.is_meta
