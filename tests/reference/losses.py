"""IoU of two boxes, and the published class targets of Deformable-DETR, with plain loops.

Matching, class targets and losses have their reference in `benchmarks.reference_criterion`.
"""

from __future__ import annotations

import torch
from torch import Tensor


def area(box: Tensor) -> Tensor:
    return (box[2] - box[0]).clamp(min=0) * (box[3] - box[1]).clamp(min=0)


def intersection(a: Tensor, b: Tensor) -> Tensor:
    w = (torch.minimum(a[2], b[2]) - torch.maximum(a[0], b[0])).clamp(min=0)
    h = (torch.minimum(a[3], b[3]) - torch.maximum(a[1], b[1])).clamp(min=0)
    return w * h


def iou(a: Tensor, b: Tensor) -> Tensor:
    both = intersection(a, b)
    return both / (area(a) + area(b) - both).clamp(min=1e-6)


def as_matches(pairs, shape: tuple[int, int, int]) -> Tensor:
    """The pairs of `benchmarks.reference_criterion` by stage and image as matches (S, B, N)."""
    matches = torch.full(shape, -1)
    for stage, images in enumerate(pairs):
        for image, (queries, gt_indices) in enumerate(images):
            matches[stage, image, queries] = gt_indices
    return matches


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
