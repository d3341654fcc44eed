"""How often the host waits for the device in matcher, assigner and losses: once, for the costs."""

import pytest
import torch
from detectron2.config import instantiate
from detectron2.utils.events import EventStorage
from device_to_host import HostCopies, without_autocast
from torch import Tensor

from stageinteractor import get_config
from stageinteractor.assigner import (
    CrossStageAssigner,
    HungarianMatcher,
    OneToOneAtLastStage,
    PerStageAssigner,
    PositionModulatedMatcher,
    QualityTopKMatcher,
    WarmupCrossStageAssigner,
)
from stageinteractor.criterion import FocalLoss, SetCriterion

STAGES, QUERIES, CLASSES = 6, 10, 4
COUNTS = [[3, 2], [0, 3], [0, 0], [12, 1]]  # objects of the images; some have more than queries
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def criterion(assigner=None, **settings) -> SetCriterion:
    return SetCriterion(
        HungarianMatcher(), assigner or CrossStageAssigner(), FocalLoss(), **settings
    )


def step(
    criterion: SetCriterion, counts: list[int], device: str, waiting: int = 1
) -> dict[str, Tensor]:
    """Compute losses and their gradients; everything is made on the device beforehand."""
    criterion.to(device)
    logits = torch.zeros(STAGES, len(counts), QUERIES, CLASSES, device=device, requires_grad=True)
    corner = torch.zeros(STAGES, len(counts), QUERIES, 2, device=device, requires_grad=True)
    boxes = torch.cat([corner, corner + 30.0], dim=-1)
    targets = [
        {
            "boxes": torch.ones(count, 2, device=device).cumsum(1).repeat(1, 2) * 10.0,
            "labels": torch.ones(count, dtype=torch.long, device=device),
        }
        for count in counts
    ]
    sizes = torch.full((len(counts), 2), 100.0, device=device)
    with watched(device) as copies:
        losses = criterion(logits, boxes, targets, sizes)
        torch.stack(list(losses.values())).sum().backward()
    assert logits.grad is not None and corner.grad is not None
    assert copies.waiting == waiting
    assert copies.beside == 0
    return losses


class WatchedGpu:
    """Let torch refuse to wait for the GPU, except in `Tensor.cpu`, which is counted."""

    def __init__(self) -> None:
        self.waiting = self.beside = 0

    def __enter__(self):
        self.cpu = Tensor.cpu

        def cpu(tensor: Tensor, *args, **kwargs) -> Tensor:
            if not tensor.is_cuda:
                return self.cpu(tensor, *args, **kwargs)
            self.waiting += 1
            torch.cuda.set_sync_debug_mode("default")
            try:
                return self.cpu(tensor, *args, **kwargs)
            finally:
                torch.cuda.set_sync_debug_mode("error")

        Tensor.cpu = cpu
        torch.cuda.set_sync_debug_mode("error")
        return self

    def __exit__(self, *_):
        torch.cuda.set_sync_debug_mode("default")
        Tensor.cpu = self.cpu


def watched(device: str):
    return WatchedGpu() if device == "cuda" else HostCopies()


@pytest.fixture(params=["meta", pytest.param("cuda", marks=needs_gpu)])
def device(request, monkeypatch) -> str:
    if request.param == "meta":
        without_autocast(monkeypatch)
    return request.param


@pytest.mark.parametrize("counts", COUNTS, ids=str)
def test_a_step_waits_once_for_the_device(counts: list[int], device: str):
    losses = step(criterion(), counts, device)
    assert len(losses) == 3 * STAGES


@pytest.mark.parametrize(
    "assigner",
    [CrossStageAssigner(keep_own_match=True), PerStageAssigner(), WarmupCrossStageAssigner()],
    ids=lambda each: type(each).__name__,
)
def test_so_does_a_step_with_another_assigner(assigner, device: str):
    step(criterion(assigner), [3, 2], device)


@pytest.mark.parametrize("counts", COUNTS, ids=str)
@pytest.mark.parametrize("assigner", [CrossStageAssigner(), PerStageAssigner()])
def test_matching_by_quality_does_not_wait(assigner, counts: list[int], device: str):
    loss = SetCriterion(QualityTopKMatcher(), assigner, FocalLoss(), normalizer="objects")
    step(loss, counts, device, waiting=0)


@pytest.mark.parametrize("counts", COUNTS, ids=str)
@pytest.mark.parametrize("name", ["position_supervised", "cross_stage_position_supervised"])
@pytest.mark.parametrize("rescale", [False, True])
def test_so_does_a_step_with_stable_matching(name, rescale, counts: list[int], device: str):
    stable = SetCriterion(
        PositionModulatedMatcher(rescale=rescale),
        OneToOneAtLastStage(CrossStageAssigner(keep_own_match=True)),
        instantiate(get_config("common/class_loss.py")[name]),
        normalizer="matches",
    )
    stable.class_loss.target.rescale.to = "best_iou" if rescale else "one"
    step(stable, counts, device)


def test_statistics_wait_only_when_they_are_due(device: str):
    with EventStorage(start_iter=1):
        step(criterion(log_statistics=True), [3, 2], device)


def test_the_count_is_exact():
    """What the test would find if more were copied, or a value were looked at."""
    tensor = torch.zeros(3, device="meta")
    with HostCopies() as copies:
        assert tensor.cpu().tolist() == [0, 0, 0]
        assert tensor.to("cpu", non_blocking=True).shape == (3,)
        torch.ones(3).copy_(tensor)
        tensor.tolist()
    assert (copies.waiting, copies.beside) == (3, 1)
    for look in (
        lambda: tensor.sum().item(),
        lambda: tensor.nonzero(),
        lambda: tensor[tensor > 0],
        lambda: tensor.unique(),
        lambda: bool(tensor.any()),
    ):
        with pytest.raises(AssertionError, match="waits for the device"), HostCopies():
            look()
