"""Boxes as (x, y, z, r): centre in pixels, z = log2 sqrt(w h), r = log2 (h / w).

The decoder works in this form: z is the scale at which points are sampled, and a refinement moves
the centre by fractions of the box's width and height. Paper: section 3.3 and code 2; after AdaMixer
(Gao et al., CVPR 2022, section 3.1). Nothing is clipped to the image.
"""

from __future__ import annotations

import torch
from torch import Tensor


def box_sizes(boxes_xyzr: Tensor) -> Tensor:
    """Return (..., 2) width and height in pixels of xyzr boxes (..., 4)."""
    z, r = boxes_xyzr[..., 2], boxes_xyzr[..., 3]
    return torch.stack([torch.exp2(z - r / 2), torch.exp2(z + r / 2)], dim=-1)


def xyzr_to_xyxy(boxes_xyzr: Tensor) -> Tensor:
    """Convert boxes (..., 4) from xyzr to xyxy pixels."""
    half = box_sizes(boxes_xyzr) / 2
    center = boxes_xyzr[..., :2]
    return torch.cat([center - half, center + half], dim=-1)


def xyxy_to_xyzr(boxes_xyxy: Tensor) -> Tensor:
    """Convert boxes (..., 4) of positive size from xyxy pixels to xyzr."""
    low, high = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    log_size = torch.log2(high - low)
    z, r = log_size.mean(dim=-1), log_size[..., 1] - log_size[..., 0]
    return torch.cat([(low + high) / 2, z.unsqueeze(-1), r.unsqueeze(-1)], dim=-1)


def whole_image_boxes(image_sizes: Tensor) -> Tensor:
    """Return boxes (B, 4), xyxy pixels, that cover images of the sizes (B, 2), (height, width)."""
    return torch.cat([torch.zeros_like(image_sizes), image_sizes.flip(-1)], dim=-1)


def refine_boxes(boxes_xyzr: Tensor, deltas: Tensor) -> Tensor:
    """Move boxes (..., 4) by deltas (..., 4): centre in box widths and heights, z and r added."""
    center = boxes_xyzr[..., :2] + deltas[..., :2] * box_sizes(boxes_xyzr)
    return torch.cat([center, boxes_xyzr[..., 2:] + deltas[..., 2:]], dim=-1)


def refine_boxes_by_scale(boxes_xyzr: Tensor, deltas: Tensor) -> Tensor:
    """Move boxes (..., 4) by deltas (..., 4): centre in units of the scale 2^z, z and r added.

    AdaMixer's rule (Gao et al., CVPR 2022): x and y move in the same unit for any aspect ratio.
    """
    center = boxes_xyzr[..., :2] + deltas[..., :2] * torch.exp2(boxes_xyzr[..., 2:3])
    return torch.cat([center, boxes_xyzr[..., 2:] + deltas[..., 2:]], dim=-1)
