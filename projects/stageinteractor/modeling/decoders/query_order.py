"""Order and geometry of pairs of queries: what `DuplicateSuppressor` knows beside the content.

In: logits (B, N, C) and boxes (B, N, 4); out: a mask and features of all pairs of queries of an
image. Nothing here has a gradient. Source of e1 to e4: Hou et al., "Relation DETR", ECCV 2024,
equation 4.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...assigner.boxes import box_iou, xyxy_to_cxcywh

NUM_FEATURES = 5
MIN_SIZE = 1e-3  # of a box side, in pixels
NUM_AXES = 2


@torch.no_grad()
def more_confident(logits: Tensor) -> Tensor:
    """Return (B, N, N) bool: whether query j (column) precedes query i (row) in confidence.

    The confidence is the highest logit of any class. Of equal ones the query of lower index
    precedes, so the order is strict and total: of identical queries exactly one is first.

    Args:
        logits: (B, N, C).
    """
    confidence = logits.amax(dim=-1)  # (B, N)
    row, column = confidence.unsqueeze(2), confidence.unsqueeze(1)
    index = torch.arange(logits.shape[1], device=logits.device)
    earlier = index < index.unsqueeze(1)  # (N, N): column < row
    return (column > row) | ((column == row) & earlier)


@torch.no_grad()
def pair_features(boxes_xyxy: Tensor) -> Tensor:
    """Return (B, N, N, 5): e1 to e4 and the IoU of query i (row) and query j (column).

    e1 = ln(|x_i - x_j| / w_i + 1), e2 = ln(|y_i - y_j| / h_i + 1), e3 = ln(w_i / w_j) and
    e4 = ln(h_i / h_j), from centres and sizes. All five stay the same if x and y are scaled, each
    by its own factor. Half precision is computed in float32.

    Args:
        boxes_xyxy: (B, N, 4) in pixels; sides are clamped at 0.001.
    """
    half = boxes_xyxy.dtype in (torch.float16, torch.bfloat16)
    boxes = boxes_xyxy.float() if half else boxes_xyxy
    with torch.autocast(boxes.device.type, enabled=False):
        center, size = xyxy_to_cxcywh(boxes).split(NUM_AXES, dim=-1)  # (B, N, 2) each
        size = size.clamp(min=MIN_SIZE)
        distance = (center.unsqueeze(2) - center.unsqueeze(1)).abs() / size.unsqueeze(2)
        log_size = size.log()
        ratio = log_size.unsqueeze(2) - log_size.unsqueeze(1)  # (B, N, N, 2)
        iou = box_iou(boxes.unsqueeze(2), boxes.unsqueeze(1)).unsqueeze(-1)
        return torch.cat([distance.log1p(), ratio, iou], dim=-1)
