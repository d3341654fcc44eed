"""Crops added in training, so that every level has enough of them in every image.

Crops from probing come first, then crops around small ground-truth boxes, then random ones. Paper:
ASAG, section 3.4 and appendix.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...assigner.targets import PaddedTargets
from .patch_features import push_back
from .probing import Crops, crop_nms


@torch.no_grad()
def crops_around_gt(
    gt: PaddedTargets, size: int, stride: int, cells: Tensor, overlap: float = 0.25
) -> Crops:
    """Return crops at random places around boxes that are less than half a crop wide and high.

    Of crops that overlap, the one around the box nearest to all others (smallest sum of squared
    distances) is kept and moved inside the image. The order is random, so that all have a chance
    where there are too many.

    Args:
        gt: ground truth of all images.
        size: of a crop, cells.
        stride: of the map, pixels.
        cells: (B, 2) long, rows and columns of the images in it.
        overlap: IoU above which crops count as one.
    """
    boxes, mask = gt.boxes, gt.mask
    extent = boxes[..., 2:] - boxes[..., :2]  # (B, T, 2)
    small = mask & (extent < size * stride / 2).all(dim=-1)  # (B, T)
    center = (boxes[..., :2] + boxes[..., 2:]) / 2
    distance = (center[:, :, None] - center[:, None]).square().sum(dim=-1)  # (B, T, T)
    score = -distance.masked_fill(~mask[:, None], 0.0).sum(dim=-1)  # (B, T)
    images = torch.arange(len(boxes), device=boxes.device)[:, None].expand_as(small)
    boxes, score, images = boxes[small], score[small], images[small]
    kept = crop_nms(center[small], score, images, size * stride, overlap)
    kept = kept[torch.randperm(len(kept), device=kept.device)]
    corners = _corners_around(boxes[kept], size, stride)
    return Crops(images[kept], push_back(corners, images[kept], size, cells))


@torch.no_grad()
def anywhere(counts: Tensor, size: int, cells: Tensor) -> Crops:
    """Return crops at random places.

    Args:
        counts: (B,) long, how many of every image.
        size: of a crop, cells.
        cells: (B, 2) long, rows and columns of the images in the map.
    """
    images = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    places = (cells[images].flip(-1) - size + 1).clamp(min=1)
    corners = (torch.rand_like(places, dtype=torch.float) * places).long()
    return Crops(images, push_back(corners, images, size, cells))


def filled(first: Crops, more: Crops, min_crops: int, num_images: int) -> Crops:
    """Return the first crops, filled up with others to ``min_crops`` of every image."""
    counts = torch.bincount(first.images, minlength=num_images)
    taken = F.one_hot(more.images, num_images).cumsum(dim=0)  # (n, B)
    number = taken.gather(1, more.images[:, None])[:, 0]  # (n,): 1 for the first one of an image
    used = number <= (min_crops - counts)[more.images]
    return joined(first, Crops(more.images[used], more.corners[used]))


def joined(first: Crops, second: Crops) -> Crops:
    """Return the crops of both."""
    return Crops(
        torch.cat([first.images, second.images]), torch.cat([first.corners, second.corners])
    )


def _corners_around(boxes: Tensor, size: int, stride: int) -> Tensor:
    """Return (n, 2) long: corners of crops that hold the boxes (n, 4), any with equal chance."""
    first = (boxes[:, 2:] / stride).ceil() - size
    last = (boxes[:, :2] / stride).floor()
    return torch.minimum((first + torch.rand_like(first) * (last - first + 1)).floor(), last).long()
