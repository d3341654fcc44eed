"""Anchors of all images in one list: predicted boxes with their scores.

Images have different numbers of anchors, so every anchor carries the index of its image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...assigner.boxes import cxcywh_to_xyxy
from .patches import Patches, to_image

MIN_SIZE = 3.0  # pixels


class Anchors(NamedTuple):
    """m anchors of any of the images, in any order; without gradient."""

    boxes: Tensor  # (m, 4) xyxy pixels
    scores: Tensor  # (m,)
    images: Tensor  # (m,) long

    def where(self, mask: Tensor) -> Anchors:
        """Return the anchors that a mask (m,) or an index picks."""
        return Anchors(self.boxes[mask], self.scores[mask], self.images[mask])


def join(parts: Sequence[Anchors]) -> Anchors:
    """Return the anchors of all parts."""
    return Anchors(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


@torch.no_grad()
def anchors_of(logits: Tensor, boxes: Tensor, patches: Patches, image_sizes: Tensor) -> Anchors:
    """Convert predictions in patches to anchors of the images.

    Anchors less than 3 pixels wide or high, or with their centre outside of the image, get the
    score 0; smaller sides become 3 pixels.

    Args:
        logits: (n, A).
        boxes: (n, A, 4) cxcywh in parts of their patches.
        patches: where the n patches lie.
        image_sizes: (B, 2), (height, width).
    """
    boxes = to_image(boxes, patches)
    center, size = boxes[..., :2], boxes[..., 2:]
    end = image_sizes[patches.images].flip(-1)[:, None]
    real = ((size >= MIN_SIZE) & (center >= 0) & (center <= end)).all(dim=-1)
    images = patches.images[:, None].expand_as(logits)
    scores = torch.where(real, logits.sigmoid(), 0.0)
    boxes = torch.cat([center, size.clamp(min=MIN_SIZE)], dim=-1)
    return Anchors(
        boxes=cxcywh_to_xyxy(boxes).flatten(0, 1),  # (n*A, 4)
        scores=scores.flatten(),
        images=images.flatten(),
    )


def rank_in_image(anchors: Anchors) -> Tensor:
    """Return (m,) long: 0 for the best score of an image; of equal ones the earlier comes first."""
    order = anchors.scores.argsort(descending=True, stable=True)
    order = order[anchors.images[order].argsort(stable=True)]  # by image, and there by score
    images = anchors.images[order]
    position = torch.arange(len(images), device=images.device)
    ranks = position - torch.searchsorted(images, images)  # minus where the image begins
    return torch.empty_like(order).scatter_(0, order, ranks)


def count_in_images(images: Tensor, mask: Tensor, num_images: int) -> Tensor:
    """Return (B,) long: how many of the images (m,) a mask (m,) picks, image by image."""
    return torch.zeros(num_images, dtype=torch.long, device=images.device).scatter_add_(
        0, images, mask.long()
    )
