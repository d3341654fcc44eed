"""Adaptive probing: where to predict again at a finer level, and which anchors to keep.

Small anchors with a medium score are replaced: crops are cut out of the next finer map around them,
and the anchors predicted there take their place. Paper: ASAG, section 3.3; an image with few such
anchors stops by itself, whatever else is in its batch (the released code stops the whole batch, and
when there are many).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...nms import grouped_nms
from .anchor_boxes import Anchors, count_in_images, rank_in_image
from .patch_features import push_back


class Crops(NamedTuple):
    """Places of n patches in a map."""

    images: Tensor  # (n,) long
    corners: Tensor  # (n, 2) long: column and row of the first cell


class Probing:
    """Choose anchors to replace, and patches to replace them in.

    Args:
        patch_size: of a patch, cells.
        low, high: anchors with a score in between are replaced if they are at most half a patch
            wide and high.
        keep: minimum score of a returned anchor, exclusive.
        overlap: of two patches of an image with a larger IoU, that of the weaker anchor is dropped.
        min_replaced: an image with fewer anchors to replace keeps them, and stops.
        max_crops: of an image at one level.
        min_anchors, max_anchors: of an image.
    """

    def __init__(
        self,
        *,
        patch_size: int = 15,
        low: float = 0.1,
        high: float = 0.7,
        keep: float = 0.1,
        overlap: float = 0.25,
        min_replaced: int = 3,
        max_crops: int = 15,
        min_anchors: int = 5,
        max_anchors: int = 200,
    ) -> None:
        if not 0.0 <= low <= high <= 1.0:
            raise ValueError(f"0 <= low <= high <= 1 must hold, got {low} and {high}")
        if not 1 <= min_anchors <= max_anchors:
            raise ValueError(
                f"1 <= min_anchors <= max_anchors must hold, got {min_anchors} and {max_anchors}"
            )
        self.patch_size = patch_size
        self.low = low
        self.high = high
        self.keep = keep
        self.overlap = overlap
        self.min_replaced = min_replaced
        self.max_crops = max_crops
        self.min_anchors = min_anchors
        self.max_anchors = max_anchors

    def select(self, anchors: Anchors, stride: int, num_images: int, min_replaced: int) -> Tensor:
        """Return (m,) bool: the anchors to replace at a level.

        Args:
            anchors: those of the level before.
            stride: of the level.
            num_images: B.
            min_replaced: an image with fewer of them has none.
        """
        size = anchors.boxes[:, 2:] - anchors.boxes[:, :2]
        small = (size < stride * self.patch_size / 2).all(dim=-1)
        chosen = small & (anchors.scores > self.low) & (anchors.scores < self.high)
        counts = count_in_images(anchors.images, chosen, num_images)
        return chosen & (counts >= min_replaced)[anchors.images]

    def crops(self, chosen: Anchors, stride: int, cells: Tensor) -> Crops:
        """Return the patches around anchors, in order of their scores.

        Args:
            chosen: the anchors to replace.
            stride: of the level.
            cells: (B, 2) long, rows and columns of the images in its map.
        """
        center = (chosen.boxes[:, :2] + chosen.boxes[:, 2:]) / 2
        kept = crop_nms(
            center, chosen.scores, chosen.images, self.patch_size * stride, self.overlap
        )
        kept = kept[rank_in_image(chosen.where(kept)) < self.max_crops]
        corners = (center[kept] / stride - self.patch_size / 2).floor().long()
        images = chosen.images[kept]
        return Crops(images, push_back(corners, images, self.patch_size, cells))

    def output(self, anchors: Anchors, replaced: Tensor) -> Tensor:
        """Return (m,) bool: the anchors of this level that are returned."""
        return (anchors.scores > self.keep) & ~replaced

    def at_least(self, anchors: Anchors, kept: Tensor, replaced: Tensor, num_images: int) -> Tensor:
        """Return (m,) bool: the same, or the best of an image that has too few.

        Anchors that are replaced come last, so that an image never ends with less.

        Args:
            anchors: those of the levels that every image has.
            kept: those of them that are returned.
            replaced: those that finer levels replace.
            num_images: B.
        """
        few = count_in_images(anchors.images, kept, num_images) < self.min_anchors
        ranks = rank_in_image(anchors._replace(scores=anchors.scores - replaced.to(anchors.scores)))
        return torch.where(few[anchors.images], ranks < self.min_anchors, kept)

    def at_most(self, anchors: Anchors) -> Anchors:
        """Return the best anchors of images that have too many, and all of the others."""
        return anchors.where(rank_in_image(anchors) < self.max_anchors)


def crop_nms(
    centers: Tensor, scores: Tensor, images: Tensor, size: float, overlap: float
) -> Tensor:
    """Return the indices of centres (n, 2) whose crops no better one of the image overlaps.

    Args:
        centers: of crops, pixels.
        scores: (n,).
        images: (n,) long.
        size: of every crop, pixels.
        overlap: the IoU from which on a crop is dropped, exclusive.
    """
    crops = torch.cat([centers - size / 2, centers + size / 2], dim=-1)
    return grouped_nms(crops, scores, images, overlap)
