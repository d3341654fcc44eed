"""Matching, class targets and losses written down once more, with plain loops in float64.

Shapes as in the package: logits (S, B, N, C), boxes (S, B, N, 4) xyxy pixels.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

Targets = list[dict[str, Tensor]]


def area(box: Tensor) -> Tensor:
    return (box[2] - box[0]).clamp(min=0) * (box[3] - box[1]).clamp(min=0)


def intersection(a: Tensor, b: Tensor) -> Tensor:
    w = (torch.minimum(a[2], b[2]) - torch.maximum(a[0], b[0])).clamp(min=0)
    h = (torch.minimum(a[3], b[3]) - torch.maximum(a[1], b[1])).clamp(min=0)
    return w * h


def iou(a: Tensor, b: Tensor) -> Tensor:
    both = intersection(a, b)
    return both / (area(a) + area(b) - both).clamp(min=1e-6)


def giou(a: Tensor, b: Tensor) -> Tensor:
    both = intersection(a, b)
    union = (area(a) + area(b) - both).clamp(min=1e-6)
    w = torch.maximum(a[2], b[2]) - torch.minimum(a[0], b[0])
    h = torch.maximum(a[3], b[3]) - torch.minimum(a[1], b[1])
    hull = (w * h).clamp(min=1e-6)
    return both / union - (hull - union) / hull


def distance(a: Tensor, b: Tensor, height: float, width: float) -> Tensor:
    scale = torch.tensor([width, height, width, height], dtype=torch.float64)
    return (a / scale - b / scale).abs().sum()


def cost(logit: float, box: Tensor, target: Tensor, height: float, width: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    positive = -0.25 * (1 - p) ** 2 * math.log(p + 1e-12)
    negative = -0.75 * p**2 * math.log(1 - p + 1e-12)
    near = distance(box, target, height, width).item()
    return 2 * (positive - negative) + 5 * near - 2 * giou(box, target).item()


def match(logits: Tensor, boxes: Tensor, targets: Targets, sizes: Tensor) -> Tensor:
    """The object of every query, (S, B, N), -1 for none."""
    stages, images, queries, _ = logits.shape
    result = torch.full((stages, images, queries), -1)
    for s in range(stages):
        for b, target in enumerate(targets):
            height, width = sizes[b].tolist()
            costs = np.zeros((queries, len(target["labels"])))
            for q in range(queries):
                for t, label in enumerate(target["labels"].tolist()):
                    pair = logits[s, b, q, label].item(), boxes[s, b, q], target["boxes"][t]
                    costs[q, t] = cost(*pair, height, width)
            for q, t in zip(*linear_sum_assignment(costs), strict=True):
                result[s, b, q] = int(t)
    return result


def class_targets(boxes: Tensor, matches: Tensor, targets: Targets, num_classes: int) -> Tensor:
    """Labels of the own, the previous and all later stages whose object the box fits."""
    stages, images, queries = matches.shape
    result = torch.zeros(stages, images, queries, num_classes, dtype=torch.float64)
    for i in range(stages):
        for b, target in enumerate(targets):
            for q in range(queries):
                for s in range(max(0, i - 1), stages):
                    t = int(matches[s, b, q])
                    if t >= 0 and iou(boxes[i, b, q], target["boxes"][t]) >= 0.5:
                        result[i, b, q, target["labels"][t]] = 1
    return result


def losses(
    logits: Tensor,
    boxes: Tensor,
    matches: Tensor,
    labels: Tensor,
    targets: Targets,
    sizes: Tensor,
) -> Tensor:
    """Weighted class, L1 and GIoU losses of every stage, (S, 3)."""
    rows = []
    for s in range(len(logits)):
        positives = int((matches[s] >= 0).sum())
        p = torch.sigmoid(logits[s])
        wanted = labels[s]
        focal = wanted * 0.25 * (1 - p) ** 2 * -torch.log(p)
        focal = focal + (1 - wanted) * 0.75 * p**2 * -torch.log(1 - p)
        near = overlap = logits.new_zeros(())
        for b, target in enumerate(targets):
            height, width = sizes[b].tolist()
            for q, t in enumerate(matches[s, b].tolist()):
                if t >= 0:
                    pair = boxes[s, b, q], target["boxes"][t]
                    near = near + distance(*pair, height, width)
                    overlap = overlap + 1 - giou(*pair)
        class_average = max(positives, float(wanted.sum()), 1)
        box_average = max(positives, 1)
        rows.append(
            torch.stack(
                [2 * focal.sum() / class_average, 5 * near / box_average, 2 * overlap / box_average]
            )
        )
    return torch.stack(rows)


def deformable_class_targets(
    boxes: Tensor, labels: Tensor, objects: Tensor, classes: int
) -> Tensor:
    """The rule of the published head for Deformable-DETR, as its code executes it: (B, N, C).

    Query t becomes positive for class c if some query p that is matched to class c at a stage has a
    box that overlaps the object of query t at that stage by more than 0.5. Not what this package
    does on other detectors (there a label stays with its query); kept to explain the recordings.

    Args:
        boxes: (B, N, 4) cxcywh, normalised: of the layer that targets are made for.
        labels: (S, B, N), C for background, of the candidate stages.
        objects: (S, B, N, 4) cxcywh, normalised: the matched objects, zeros without one.
        classes: C.
    """

    def xyxy(box: Tensor) -> Tensor:
        return torch.cat([box[:2] - box[2:] / 2, box[:2] + box[2:] / 2])

    result = torch.zeros(*boxes.shape[:2], classes)
    for stage in range(len(labels)):
        for b in range(len(boxes)):
            for t in range(boxes.shape[1]):
                for p in range(boxes.shape[1]):
                    label = int(labels[stage, b, p])
                    share = iou(xyxy(objects[stage, b, t]), xyxy(boxes[b, p]))
                    if label < classes and share > 0.5:
                        result[b, t, label] = 1
    return result
