"""Denoising queries: noisy copies of ground-truth boxes as more queries in training.

In: the ground-truth boxes. Out: boxes near them, which follow the other queries, and an attention
mask: the other queries see no copy; a copy sees the other queries and its own group, which has
every box of the image once. Source: Li et al., "DN-DETR", CVPR 2022, section 4; with ASAG's
settings (Fu et al., ICCV 2023, table A-1). Classes get no noise: content is pooled from the feature
maps inside the boxes, not embedded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...assigner.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from ...assigner.targets import PaddedTargets, Target, pad_targets
from ..anchors.anchor_boxes import MIN_SIZE
from ..box_coding import whole_image_boxes


class DenoisingBoxes(NamedTuple):
    """M noisy copies of ground-truth boxes."""

    boxes: Tensor  # (B, M, 4) xyxy pixels
    gt_indices: Tensor  # (B, M) long: the ground-truth box of every copy, -1 for padding
    groups: Tensor  # (B, M) long: the group of every copy

    def attn_mask(self, query_mask: Tensor) -> Tensor:
        """Return (B, N + M, N + M) bool: whether a query (row) sees a query (column).

        Args:
            query_mask: (B, N) bool: True for the real ones among the other queries.
        """
        others, copies = query_mask.shape[1], self.groups.shape[1]
        together = query_mask.new_zeros(len(query_mask), others + copies, others + copies)
        together[:, :, :others] = True  # every row sees the other queries
        together[:, others:, others:] = self.groups.unsqueeze(2) == self.groups.unsqueeze(1)
        return together & torch.cat([query_mask, self.gt_indices >= 0], dim=1).unsqueeze(1)


class DenoisingQueries:
    """Copy the ground-truth boxes of an image as often as they fit, and add noise to the copies.

    Centres move by up to ``box_noise`` times half the width and height, and these change by up to
    ``box_noise`` times themselves, all uniformly.

    Args:
        num_queries: of an image; as many groups of all its boxes as fit in, at least one.
        box_noise: between 0 and 1.
    """

    def __init__(self, *, num_queries: int = 200, box_noise: float = 0.4) -> None:
        if num_queries < 1 or not 0.0 <= box_noise <= 1.0:
            raise ValueError(
                f"num_queries must be at least 1 and box_noise lie in [0, 1], got {num_queries} "
                f"and {box_noise}"
            )
        self.num_queries = num_queries
        self.box_noise = box_noise

    @torch.no_grad()
    def __call__(self, targets: Sequence[Target], image_sizes: Tensor) -> DenoisingBoxes:
        """Return noisy copies, inside the images and at least 3 pixels wide and high.

        Boxes of padding are as large as the image. A batch without ground truth has padding only.

        Args:
            targets: B dicts {"boxes": (T, 4) xyxy pixels, "labels": (T,)}.
            image_sizes: (B, 2), (height, width) without padding.
        """
        padded = pad_targets(targets, like=image_sizes)
        whole = whole_image_boxes(image_sizes).unsqueeze(1)  # (B, 1, 4)
        gt_indices, groups = self._groups(padded)
        copied = padded.boxes if padded.boxes.shape[1] else whole
        index = gt_indices.clamp(min=0).unsqueeze(-1).expand(-1, -1, 4)
        boxes = inside(self._moved(copied.gather(1, index)), whole[..., 2:])
        return DenoisingBoxes(
            torch.where((gt_indices >= 0).unsqueeze(-1), boxes, whole), gt_indices, groups
        )

    def _groups(self, padded: PaddedTargets) -> tuple[Tensor, Tensor]:
        """Return the box indices (B, M) of all copies, -1 for padding, and their groups (B, M)."""
        counts = torch.tensor(padded.counts).unsqueeze(1)
        copies = counts * (self.num_queries // counts.clamp(min=1)).clamp(min=1)
        position = torch.arange(max(int(copies.max()), 1))
        groups, boxes = position // counts.clamp(min=1), position % counts.clamp(min=1)  # (B, M)
        gt_indices = boxes.masked_fill(position >= copies, -1)
        device = padded.labels.device
        return gt_indices.to(device, non_blocking=True), groups.to(device, non_blocking=True)

    def _moved(self, boxes: Tensor) -> Tensor:
        """Add noise to boxes (..., 4), xyxy pixels."""
        center, size = xyxy_to_cxcywh(boxes).split(2, dim=-1)
        shift, growth = (torch.rand_like(boxes) * 2 - 1).mul(self.box_noise).split(2, dim=-1)
        center, size = center + shift * size / 2, size + growth * size
        return cxcywh_to_xyxy(torch.cat([center, size], dim=-1))


def inside(boxes: Tensor, ends: Tensor) -> Tensor:
    """Clip boxes (B, M, 4) xyxy to images of (width, height) (B, 1, 2), but to 3 pixels at least.

    Boxes that would be smaller are centred at their clipped centre, inside any image of 3 pixels.
    """
    clipped = torch.minimum(boxes.clamp(min=0.0), ends.repeat(1, 1, 2))
    center, size = xyxy_to_cxcywh(clipped).split(2, dim=-1)
    center = torch.minimum(center, ends - MIN_SIZE / 2).clamp(min=MIN_SIZE / 2)
    small = cxcywh_to_xyxy(torch.cat([center, size.clamp(min=MIN_SIZE)], dim=-1))
    return torch.where((size < MIN_SIZE).repeat(1, 1, 2), small, clipped)
