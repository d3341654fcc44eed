"""Non-maximum suppression within groups: within classes, or within images."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import batched_nms


def grouped_nms(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Return the indices of boxes that no better one of their group overlaps more, best first.

    torchvision tells groups apart by shifts, which works right of and below 0 only: boxes are moved
    there.

    Args:
        boxes: (n, 4) xyxy pixels, which may be negative.
        scores: (n,).
        groups: (n,) long, not negative.
        threshold: IoU.
    """
    least = torch.cat([boxes.flatten(), boxes.new_zeros(1)]).min()  # of no boxes, too
    return batched_nms(boxes - least, scores, groups, threshold)
