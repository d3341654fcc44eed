"""NMS within groups: within classes, or within images."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import batched_nms


def grouped_nms(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Return the indices of the boxes that NMS within each group keeps, highest score first.

    torchvision separates groups by shifting their boxes, which assumes coordinates of at least 0.
    Boxes are translated there first.

    Args:
        boxes: (n, 4) xyxy pixels, which may be negative.
        scores: (n,).
        groups: (n,) long, at least 0.
        threshold: IoU above which the box of lower score is dropped.
    """
    lowest = torch.cat([boxes.flatten(), boxes.new_zeros(1)]).min()  # defined for n = 0, too
    return batched_nms(boxes - lowest, scores, groups, threshold)
