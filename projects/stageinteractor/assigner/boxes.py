"""Box formats, IoU and GIoU.

``xyxy`` is (left, top, right, bottom), ``cxcywh`` is (centre x, centre y, width, height), in pixels
or normalised. Areas and denominators are clamped at ``eps``, so that empty boxes have an IoU of 0
instead of NaN. Half precision is computed in float32, because an area in pixels overflows float16.
"""

from __future__ import annotations

import torch
from torch import Tensor

Edges = tuple[Tensor, Tensor, Tensor, Tensor]  # left, top, right, bottom
Extent = tuple[Tensor, Tensor]  # width and height; negative if boxes do not intersect


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
    return _area(_extent(edges(boxes_xyxy)))


def box_intersection(first: Tensor, second: Tensor) -> Tensor:
    """Return the intersection area (...) of xyxy boxes (..., 4) whose shapes broadcast."""
    return _area(shared_extent(edges(first), edges(second)))


def box_iou(first: Tensor, second: Tensor, eps: float = 1e-6) -> Tensor:
    """Return the intersection over union of xyxy boxes (..., 4) whose shapes broadcast.

    Equal shapes give the IoU of aligned pairs; ``first[..., :, None, :]`` and
    ``second[..., None, :, :]`` give that of all pairs.
    """
    a, b = edges(first), edges(second)
    shared = _area(shared_extent(a, b))
    return shared / (_area(_extent(a)) + _area(_extent(b)) - shared).clamp(min=eps)


def box_giou(first: Tensor, second: Tensor, eps: float = 1e-6) -> Tensor:
    """Return the generalised IoU, in [-1, 1], of xyxy boxes (..., 4) whose shapes broadcast.

    Source: Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019, algorithm 1.
    """
    a, b = edges(first), edges(second)
    return giou_of_extents(a, b, shared_extent(a, b), hull_extent(a, b), eps)


def edges(boxes_xyxy: Tensor) -> Edges:
    """Return left, top, right and bottom (...) of boxes (..., 4), each contiguous.

    Comparing all pairs of boxes edge by edge is several times faster on a CPU than in rows of two.
    """
    rows = _at_least_float32(boxes_xyxy).movedim(-1, 0).contiguous()
    left, top, right, bottom = rows.unbind(0)
    return left, top, right, bottom


def shared_extent(a: Edges, b: Edges) -> Extent:
    """Return the extent of the intersection of two boxes."""
    low = torch.maximum(a[0], b[0]), torch.maximum(a[1], b[1])
    return torch.minimum(a[2], b[2]) - low[0], torch.minimum(a[3], b[3]) - low[1]


def hull_extent(a: Edges, b: Edges) -> Extent:
    """Return the extent of the smallest box that encloses two boxes."""
    low = torch.minimum(a[0], b[0]), torch.minimum(a[1], b[1])
    return torch.maximum(a[2], b[2]) - low[0], torch.maximum(a[3], b[3]) - low[1]


def giou_of_extents(a: Edges, b: Edges, shared: Extent, hull: Extent, eps: float = 1e-6) -> Tensor:
    """Return the generalised IoU (...) of two boxes, given their intersection and hull."""
    overlap = _area(shared)
    union = (_area(_extent(a)) + _area(_extent(b)) - overlap).clamp(min=eps)
    enclosing = _area(hull).clamp(min=eps)
    return overlap / union - (enclosing - union) / enclosing


def _extent(a: Edges) -> Extent:
    return a[2] - a[0], a[3] - a[1]


def _area(extent: Extent) -> Tensor:
    return extent[0].clamp(min=0) * extent[1].clamp(min=0)


def _at_least_float32(boxes: Tensor) -> Tensor:
    return boxes.float() if boxes.dtype in (torch.float16, torch.bfloat16) else boxes
