"""The losses of configs/common/class_loss.py, against those of transformers where it has them."""

import pytest
import torch
from detectron2.config import instantiate
from transformers.loss.loss_deimv2 import Deimv2Loss
from transformers.loss.loss_lw_detr import LwDetrImageLoss
from transformers.loss.loss_rt_detr import RTDetrLoss

from stageinteractor import get_config
from stageinteractor.assigner import PerStageAssigner
from stageinteractor.assigner.boxes import cxcywh_to_xyxy
from stageinteractor.criterion import MatchedPairs
from stageinteractor.criterion.class_loss import ClassLoss

CLASSES = 4
NAMES = [
    "cross_stage_position_supervised",
    "focal",
    "ia_bce",
    "mal",
    "position_supervised",
    "quality_focal",
    "query_weighting",
    "varifocal",
]


def named(name: str) -> ClassLoss:
    return instantiate(get_config("common/class_loss.py")[name])


def random_case():
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 8, CLASSES, generator=generator).double() * 2
    boxes = torch.rand(2, 8, 4, generator=generator).double() * 0.2 + 0.4
    targets, pairs = [], []
    for count in (3, 2):
        expected = torch.rand(count, 4, generator=generator).double() * 0.2 + 0.4
        labels = torch.randint(CLASSES, (count,), generator=generator)
        targets.append({"boxes": expected, "labels": labels, "class_labels": labels})
        queries = torch.randperm(8, generator=generator)[:count]
        pairs.append((queries, torch.arange(count)))
    return logits, boxes, targets, pairs


def ours(loss: ClassLoss, logits, boxes, targets, pairs) -> torch.Tensor:
    matches = torch.full((1, 2, 8), -1)
    for image, (queries, objects) in enumerate(pairs):
        matches[0, image, queries] = objects
    boxes = cxcywh_to_xyxy(boxes)[None] * 1024
    known = [{"boxes": cxcywh_to_xyxy(t["boxes"]) * 1024, "labels": t["labels"]} for t in targets]
    objects = PerStageAssigner().assigned_gt_indices(boxes, matches, known)
    return loss.entries(logits[None], MatchedPairs(objects, boxes, matches, known)).sum()


class Config:
    num_labels = CLASSES
    eos_coefficient = 1e-4
    focal_loss_alpha, focal_loss_gamma = 0.75, 2.0
    weight_loss_vfl = weight_loss_bbox = weight_loss_giou = 1.0
    matcher_class_cost = matcher_bbox_cost = matcher_giou_cost = 1.0
    use_focal_loss, matcher_alpha, matcher_gamma = True, 0.25, 2.0
    num_queries = 8


def varifocal(outputs, targets, pairs):
    host = RTDetrLoss(Config())
    return host.loss_labels_vfl(outputs, targets, pairs, 1.0)["loss_vfl"]


def mal(outputs, targets, pairs):
    host = Deimv2Loss.__new__(Deimv2Loss)
    torch.nn.Module.__init__(host)
    host.num_classes, host.gamma, host.mal_alpha = CLASSES, 1.5, None
    return host.loss_labels_mal(outputs, targets, pairs, 1.0)["loss_mal"]


def ia_bce(outputs, targets, pairs):
    host = LwDetrImageLoss(
        matcher=None, num_classes=CLASSES, focal_alpha=0.25, losses=[], group_detr=1
    )
    return host.loss_labels(outputs, targets, pairs, 1.0)["loss_ce"]


@pytest.mark.parametrize("theirs", [varifocal, mal, ia_bce])
def test_values_and_gradients_equal_those_of_transformers(theirs):
    logits, boxes, targets, pairs = random_case()
    one, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    expected = theirs({"logits": one, "pred_boxes": boxes}, targets, pairs)
    actual = ours(named(theirs.__name__), other, boxes, targets, pairs)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-7)
    expected.backward()
    actual.backward()
    torch.testing.assert_close(other.grad, one.grad, rtol=1e-5, atol=1e-7)
