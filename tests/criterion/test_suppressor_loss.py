"""The loss of duplicate removal."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from two_processes import run_in_two_processes

from stageinteractor import get_config
from stageinteractor.assigner import HungarianMatcher
from stageinteractor.assigner.boxes import box_iou
from stageinteractor.config import instantiate
from stageinteractor.criterion import SuppressorLoss

NAMED = get_config("common/class_loss.py")


def build(name: str = "varifocal", weight: float = 1.0) -> SuppressorLoss:
    return SuppressorLoss(HungarianMatcher(), instantiate(NAMED[name], name), weight)


def batch() -> tuple[Tensor, Tensor, list[dict[str, Tensor]], Tensor]:
    """Logits (2, 6, 3), boxes, and targets: three objects, none."""
    torch.manual_seed(0)
    logits = torch.randn(2, 6, 3, dtype=torch.float64)
    corner = torch.rand(2, 6, 2, dtype=torch.float64) * 40
    boxes = torch.cat([corner, corner + 10], -1)
    objects = {"boxes": boxes[0, :3] + 1.0, "labels": torch.tensor([0, 1, 2])}
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    return logits, boxes, [objects, nothing], torch.full((2, 2), 64.0)


def test_varifocal_loss_equals_a_loop_over_images():
    logits, boxes, targets, sizes = batch()
    total, matches = 0.0, 0
    for b, target in enumerate(targets):
        (matched,) = HungarianMatcher()(
            logits[None, b : b + 1], boxes[None, b : b + 1], [target], sizes[b : b + 1]
        )[0]
        for n, c in [(n, c) for n in range(6) for c in range(3)]:
            x, gt = logits[b, n, c], int(matched[n])
            if gt >= 0 and int(target["labels"][gt]) == c:
                iou = box_iou(boxes[b, n], target["boxes"][gt])
                total += iou * F.binary_cross_entropy_with_logits(x, iou)
                matches += 1
            else:
                total += 0.75 * x.sigmoid() ** 2 * F.softplus(x)
    losses = build(weight=3.0)(logits, boxes, targets, sizes)
    assert list(losses) == ["loss_suppressor_class"] and matches == 3
    torch.testing.assert_close(losses["loss_suppressor_class"], 3.0 * total / matches)


@pytest.mark.parametrize("name", ["varifocal", "mal", "focal"])
def test_without_objects_the_negatives_are_summed(name: str):
    logits, boxes, targets, sizes = batch()
    loss = build(name)(logits, boxes, [targets[1]] * 2, sizes)["loss_suppressor_class"]
    gamma, alpha = (1.5, 1.0) if name == "mal" else (2.0, 0.75)
    torch.testing.assert_close(loss, (alpha * logits.sigmoid() ** gamma * F.softplus(logits)).sum())


def test_padded_queries_have_no_loss():
    logits, boxes, targets, sizes = batch()
    mask = torch.ones(2, 8, dtype=torch.bool)
    mask[:, 6:] = False
    expected = build()(logits, boxes, targets, sizes)
    padded = [F.pad(x, (0, 0, 0, 2), value=7.0).requires_grad_() for x in (logits, boxes)]
    actual = build()(*padded, targets, sizes, mask)
    torch.testing.assert_close(actual, expected)
    actual["loss_suppressor_class"].backward()
    assert padded[0].grad[:, 6:].abs().max() == 0 and padded[1].grad is None


def test_half_precision_is_computed_in_float32():
    logits, boxes, targets, sizes = batch()
    logits = logits.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = build()(logits, boxes.float(), targets, sizes)["loss_suppressor_class"]
    assert loss.dtype == torch.float32
    expected = build()(logits.float(), boxes.float(), targets, sizes)["loss_suppressor_class"]
    assert torch.equal(loss, expected)


SCRIPT = """
import sys, torch, torch.distributed as dist
sys.path.insert(0, {folder!r})
from test_suppressor_loss import batch, build

dist.init_process_group("gloo")
logits, boxes, targets, sizes = batch()
mine = slice(dist.get_rank(), dist.get_rank() + 1)
mean = build()(logits[mine], boxes[mine], targets[mine], sizes[mine])["loss_suppressor_class"]
dist.all_reduce(mean)
dist.destroy_process_group()
torch.testing.assert_close(
    mean / 2, build()(logits, boxes, targets, sizes)["loss_suppressor_class"]
)
"""


@pytest.mark.slow
def test_two_processes_average_to_the_joined_loss(tmp_path):
    from pathlib import Path

    run_in_two_processes(SCRIPT.format(folder=str(Path(__file__).parent)), tmp_path)
