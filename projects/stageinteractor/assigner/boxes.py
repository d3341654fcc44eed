"""Box formats and overlaps.

``xyxy`` is (left, top, right, bottom), ``cxcywh`` is (centre x, centre y, width, height), in pixels
or normalised, whichever the caller uses for both arguments. Areas and denominators are clamped at
``eps``, so that empty boxes overlap nothing instead of giving NaN. Half precision is computed in
float32, because an area in pixels overflows float16.
"""

from __future__ import annotations

import torch
from torch import Tensor


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Convert boxes (..., 4) from cxcywh to xyxy; the unit is kept."""
    center, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([center - half, center + half], dim=-1)


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Convert boxes (..., 4) from xyxy to cxcywh; the unit is kept."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2, high - low], dim=-1)


def box_area(boxes_xyxy: Tensor) -> Tensor:
    """Return width times height (...) of xyxy boxes (..., 4); negative sides count as zero."""
    return (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]).clamp(min=0).prod(dim=-1)


def box_intersection(first: Tensor, second: Tensor) -> Tensor:
    """Return the area (...) shared by two sets of xyxy boxes whose shapes broadcast."""
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    return (high - low).clamp(min=0).prod(dim=-1)


def box_iou(first: Tensor, second: Tensor, eps: float = 1e-6) -> Tensor:
    """Return the intersection over union of xyxy boxes (..., 4) whose shapes broadcast.

    Equal shapes give the overlap of aligned pairs; ``first[..., :, None, :]`` and
    ``second[..., None, :, :]`` give that of all pairs.
    """
    first, second = _at_least_float32(first), _at_least_float32(second)
    overlap = box_intersection(first, second)
    return overlap / (box_area(first) + box_area(second) - overlap).clamp(min=eps)


def box_giou(first: Tensor, second: Tensor, eps: float = 1e-6) -> Tensor:
    """Return the generalised IoU, in [-1, 1], of xyxy boxes (..., 4) whose shapes broadcast.

    Source: Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019, algorithm 1.
    """
    first, second = _at_least_float32(first), _at_least_float32(second)
    overlap = box_intersection(first, second)
    union = (box_area(first) + box_area(second) - overlap).clamp(min=eps)
    low = torch.minimum(first[..., :2], second[..., :2])
    high = torch.maximum(first[..., 2:], second[..., 2:])
    enclosing = (high - low).clamp(min=0).prod(dim=-1).clamp(min=eps)
    return overlap / union - (enclosing - union) / enclosing


def _at_least_float32(boxes: Tensor) -> Tensor:
    return boxes.float() if boxes.dtype in (torch.float16, torch.bfloat16) else boxes
