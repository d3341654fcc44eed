"""The reference implementation of the criterion: the published one's arrangement, stage by stage.

Inputs, settings and results are those of `SetCriterion`. Every stage and image has its own cost
matrix, which is copied to the CPU and solved; class targets are gathered for each stage and image
from one candidate stage after another; losses are computed per stage on the matched queries, which
are selected by index. Timed for ratios, and the yardstick of the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from stageinteractor.assigner import CrossStageAssigner, HungarianMatcher
from stageinteractor.assigner.boxes import box_giou, box_iou, cxcywh_to_xyxy, xyxy_to_cxcywh
from stageinteractor.assigner.targets import Target
from stageinteractor.criterion import FocalLoss, SetCriterion


class Pairs(NamedTuple):
    """The matched pairs of one stage and image."""

    queries: Tensor  # (pairs,) long
    objects: Tensor  # (pairs,) long


Matches = list[list[Pairs]]  # by stage and image


class ReferenceCriterion:
    """Compute the losses of a criterion, arranged as the published implementation.

    Args:
        criterion: with the matcher, assigner and class loss of the published model.
    """

    def __init__(self, criterion: SetCriterion) -> None:
        parts: Any = criterion
        self.criterion = criterion
        self.matcher: HungarianMatcher = parts.matcher
        self.assigner: CrossStageAssigner = parts.assigner
        self.class_loss: FocalLoss = parts.class_loss

    def __call__(
        self, logits: Tensor, boxes: Tensor, targets: Sequence[Target], image_sizes: Tensor
    ) -> dict[str, Tensor]:
        """Return the losses; arguments and result as those of our criterion."""
        with torch.autocast(logits.device.type, enabled=False):
            dtype = torch.float64 if boxes.dtype == torch.float64 else torch.float32
            logits, boxes, image_sizes = (x.to(dtype) for x in (logits, boxes, image_sizes))
            matches = self.match(logits.detach(), boxes.detach(), targets, image_sizes)
            labels = self.class_targets(boxes.detach(), matches, targets, logits.shape[-1])
            losses = {}
            for stage, inputs in enumerate(zip(logits, boxes, matches, labels, strict=True)):
                terms = self._stage_losses(*inputs, targets, image_sizes)
                for name, value in zip(("class", "bbox", "giou"), terms, strict=True):
                    losses[f"loss_{name}_{stage}"] = value
        return losses

    @torch.no_grad()
    def match(
        self, logits: Tensor, boxes: Tensor, targets: Sequence[Target], image_sizes: Tensor
    ) -> Matches:
        """Match one stage and image after another; arguments as those of our matcher."""
        return [
            [self._match_one(*inputs) for inputs in zip(*stage, targets, image_sizes, strict=True)]
            for stage in zip(logits, boxes, strict=True)
        ]

    def _match_one(self, logits: Tensor, boxes: Tensor, target: Target, size: Tensor) -> Pairs:
        """Match logits (N, C) and boxes (N, 4) of one image, (height, width) being its size."""
        cost = self._cost(logits, boxes, target, size).cpu().numpy()
        pairs = (torch.from_numpy(index) for index in linear_sum_assignment(cost))
        return Pairs(*(index.to(boxes.device) for index in pairs))

    def _cost(self, logits: Tensor, boxes: Tensor, target: Target, size: Tensor) -> Tensor:
        """Return the costs (N, T) of one image."""
        matcher = self.matcher
        probability = logits[:, target["labels"]].sigmoid()
        positive = -(probability + 1e-12).log() * matcher.alpha * (1 - probability) ** matcher.gamma
        negative = -(1 - probability + 1e-12).log() * (1 - matcher.alpha)
        negative = negative * probability**matcher.gamma
        scale = size.flip(-1).repeat(2)
        boxes = cxcywh_to_xyxy(xyxy_to_cxcywh(boxes / scale))  # predictions come as cxcywh
        gt_boxes = target["boxes"].to(boxes)
        return (
            (positive - negative) * matcher.cost_class
            + torch.cdist(boxes, gt_boxes / scale, p=1.0) * matcher.cost_bbox
            - box_giou((boxes * scale).unsqueeze(1), gt_boxes) * matcher.cost_giou
        )

    @torch.no_grad()
    def class_targets(
        self, boxes: Tensor, matches: Matches, targets: Sequence[Target], num_classes: int
    ) -> list[Tensor]:
        """Return the class targets (B, N, C) of every stage."""
        result = []
        for stage, scope in zip(boxes, self.assigner.scope_mask(len(boxes)).tolist(), strict=True):
            sources = [pairs for pairs, taken in zip(matches, scope, strict=True) if taken]
            images = zip(stage, zip(*sources, strict=True), targets, strict=True)
            result.append(torch.stack([self._gather_labels(*x, num_classes) for x in images]))
        return result

    def _gather_labels(
        self, boxes: Tensor, candidates: Sequence[Pairs], target: Target, num_classes: int
    ) -> Tensor:
        """Return the targets (N, C) of one stage and image from the matches of all its sources."""
        score = boxes.new_zeros(len(boxes), num_classes)
        for queries, objects in candidates:
            iou = box_iou(boxes[queries], target["boxes"][objects].to(boxes))
            entry = queries, target["labels"][objects]
            score[entry] = torch.maximum(score[entry], iou)
        return (score >= self.assigner.iou_threshold).to(boxes)

    def _stage_losses(
        self,
        logits: Tensor,
        boxes: Tensor,
        pairs: list[Pairs],
        labels: Tensor,
        targets: Sequence[Target],
        image_sizes: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return class, L1 and GIoU loss of one stage, weighted."""
        criterion = self.criterion
        matched = sum(len(queries) for queries, _ in pairs)
        class_average = labels.sum().clamp(min=max(matched, 1))
        class_loss = self._focal_loss(logits, labels).sum()
        picked, gt_boxes, scale = [], [], []
        for image, (queries, objects) in enumerate(pairs):
            picked.append(boxes[image, queries])
            gt_boxes.append(targets[image]["boxes"][objects].to(boxes))
            scale.append(image_sizes[image].flip(-1).repeat(2).expand(len(queries), 4))
        if not matched:
            return (
                criterion.weight_class * class_loss / class_average,
                boxes.sum() * 0,
                boxes.sum() * 0,
            )
        predicted, objects, scales = torch.cat(picked), torch.cat(gt_boxes), torch.cat(scale)
        distance = (predicted / scales - objects / scales).abs().sum()
        overlap = (1 - box_giou(predicted, objects)).sum()
        return (
            criterion.weight_class * class_loss / class_average,
            criterion.weight_bbox * distance / matched,
            criterion.weight_giou * overlap / matched,
        )

    def _focal_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the focal loss of every entry, written as a quality focal loss is."""
        alpha, gamma = self.class_loss.alpha, self.class_loss.gamma
        weight = torch.where(labels > 0, alpha, 1 - alpha)
        modulation = (labels - logits.sigmoid()).abs() ** gamma
        entropy = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        return weight * modulation * entropy
