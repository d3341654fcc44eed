import math

import pytest
import torch
from torch import Tensor
from two_processes import run_in_two_processes

from stageinteractor.assigner.targets import PaddedTargets
from stageinteractor.criterion.anchor_loss import AnchorLoss, PatchLoss
from stageinteractor.criterion.area_weight import AreaWeight
from stageinteractor.criterion.class_loss.query_weighting import positive_weight

LN2 = math.log(2.0)
SMALL = AreaWeight(4.0, 1.0)


def objects(*patches: list[list[float]]) -> PaddedTargets:
    counts = [len(boxes) for boxes in patches]
    padded = torch.zeros(len(patches), max(counts, default=0), 4)
    for row, boxes in zip(padded, patches, strict=True):
        row[: len(boxes)] = torch.tensor(boxes).view(-1, 4)
    return PaddedTargets(padded, torch.zeros(padded.shape[:2]).long(), counts)


def anchors(*boxes: list[float]) -> Tensor:
    return torch.tensor(boxes).view(1, -1, 4)


NONE = torch.zeros(0, 3), torch.zeros(0, 3, 4), objects()
OBJECT = [0.0, 0, 0.5, 0.5]  # a = 1/2, weight 2.5 in either way


def test_losses_of_one_object_worked_out_by_hand():
    # IoU 1/2 with the first anchor; p = 1/2 for both
    boxes = anchors([0.0, 0, 0.5, 0.25], [0.75, 0.75, 1, 1])
    actual = PatchLoss(SMALL)((torch.zeros(1, 2), boxes, objects([OBJECT])))
    # the positive is where it should be: |IoU - p| = 0; the negative: p^2 ln 2
    up = positive_weight(torch.tensor(0.5), torch.tensor(0.5)).item()
    # the lower edge is off by 1/4; GIoU = 1/2
    assert actual.tolist() == pytest.approx([LN2 / 4, 2.5 * up / 4, 2.5 * up / 2], rel=1e-5)


def test_anchors_on_an_object_of_another_anchor_are_ignored():
    # IoU 1, 1/2 (ignored) and 0.4
    boxes = anchors(OBJECT, [0.0, 0, 0.5, 0.25], [0, 0, 0.5, 0.2])
    logits = torch.zeros(1, 3, requires_grad=True)
    PatchLoss(SMALL)((logits, boxes, objects([OBJECT])))[0].backward()
    assert logits.grad[0, 0] < 0 and logits.grad[0, 1] == 0 and logits.grad[0, 2] > 0
    logits.grad = None
    PatchLoss(SMALL, ignored_iou=0.51)((logits, boxes, objects([OBJECT])))[0].backward()
    assert logits.grad[0, 1] > 0


def test_the_objects_of_other_patches_do_not_matter():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, generator=generator)
    low = torch.rand(3, 4, 2, generator=generator) / 2
    boxes = torch.cat([low, low + 0.4], -1)
    expected = [[[0.1, 0.1, 0.4, 0.5], [0.3, 0.2, 0.9, 0.8]], [], [[0.5, 0.5, 0.9, 0.9]]]
    loss = PatchLoss(SMALL)
    together = loss((logits, boxes, objects(*expected)))
    alone = [
        loss((logits[i : i + 1], boxes[i : i + 1], objects(each)))
        for i, each in enumerate(expected)
    ]
    torch.testing.assert_close(together, torch.stack(alone).sum(dim=0))


def test_large_objects_weigh_more_in_whole_images():
    small = [0.0, 0, 0.1, 0.1]  # 4 - 0.3 = 3.7, or 1 + 0.3 = 1.3
    boxes = anchors([0.0, 0, 0.1, 0.05])
    patch = torch.zeros(1, 1), boxes, objects([small])
    up = positive_weight(torch.tensor(0.5), torch.tensor(0.5)).item()
    loss = AnchorLoss()
    none = tuple(torch.cat([x] * 4) for x in (torch.zeros(1, 1) - 50, boxes)) + (
        objects(*[[]] * 4),
    )
    padded = torch.zeros(4, 1) - 50, none[1], objects([small], [], [], [])
    padded[0][0] = 0
    for quarters, whole, crops, weight in [
        (padded, none, none, 3.7),
        (none, patch, none, 1.3),
        (none, none, patch, 3.7),  # one crop of one image
    ]:
        actual = loss(quarters, whole, crops, num_gt=2)
        assert list(actual) == ["loss_anchor_class", "loss_anchor_bbox", "loss_anchor_giou"]
        assert actual["loss_anchor_class"].item() == pytest.approx(0, abs=1e-6)
        assert actual["loss_anchor_bbox"].item() == pytest.approx(4 * weight * up * 0.05 / 2)
        assert actual["loss_anchor_giou"].item() == pytest.approx(2 * weight * up * 0.5 / 2)
    eight = tuple(torch.cat([x] * 8) for x in patch[:2]) + (objects(*[[small]] * 8),)
    actual = loss(none, none, eight, num_gt=2)
    assert actual["loss_anchor_giou"].item() == pytest.approx(2 * 3.7 * up * 0.5 / 2)
    two_images = tuple(torch.cat([x] * 2) for x in none[:2]) + (objects(*[[]] * 8),)
    actual = loss(two_images, none, eight, num_gt=2)  # four crops of each
    assert actual["loss_anchor_giou"].item() == pytest.approx(2 * 2 * 3.7 * up * 0.5 / 2)


def test_patches_and_objects_may_be_missing():
    actual = AnchorLoss()(NONE, NONE, NONE, num_gt=0)
    assert [x.item() for x in actual.values()] == [0, 0, 0]
    logits = torch.zeros(2, 3, requires_grad=True)
    boxes = torch.rand(2, 3, 4, requires_grad=True)
    actual = AnchorLoss()((logits, boxes, objects([], [])), NONE, NONE, num_gt=0)
    sum(actual.values()).backward()
    assert logits.grad.all() and not boxes.grad.any()


def test_gradient_is_the_numerical_one():
    # that of the boxes is not: their weights depend on them and have none
    logits = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    boxes = torch.rand(2, 3, 4, dtype=torch.float64) * 0.4
    boxes[..., 2:] += 0.5
    padded = objects([OBJECT], [])
    padded = padded._replace(boxes=padded.boxes.double())
    loss = PatchLoss(SMALL)
    assert torch.autograd.gradcheck(lambda x: loss((x, boxes, padded))[0], (logits,))


SCRIPT = """
import torch, torch.distributed as dist
from stageinteractor.assigner.targets import PaddedTargets
from stageinteractor.criterion import AnchorLoss

dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)

def part(*patches):  # of each image
    actual = []
    for count in patches:
        low = torch.rand(count, 3, 2) / 2
        boxes = torch.cat([low, low + 0.4], -1)
        expected = PaddedTargets(boxes[:, :1] + 0.05, torch.zeros(count, 1).long(), [1] * count)
        actual.append((torch.randn(count, 3), boxes, expected))
    return actual

def joined(parts):
    boxes, labels, counts = zip(*(part[2] for part in parts))
    objects = PaddedTargets(torch.cat(boxes), torch.cat(labels), counts[0] + counts[1])
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts]), objects

images = [part(4, 4), part(1, 1), part(9, 8)]
mine = [each[rank] for each in images]
actual = torch.stack(list(AnchorLoss()(*mine, num_gt=1 + 4 * rank).values()))
dist.all_reduce(actual)
dist.destroy_process_group()
expected = AnchorLoss()(*(joined(each) for each in images), num_gt=6)
torch.testing.assert_close(actual / 2, torch.stack(list(expected.values())))
"""


@pytest.mark.slow
def test_two_processes_average_to_the_loss_of_the_joined_batch(tmp_path):
    run_in_two_processes(SCRIPT, tmp_path)
