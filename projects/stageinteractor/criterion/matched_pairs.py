"""The pairs of query and ground-truth box that have a class loss, and how well the boxes fit.

In: the ground-truth boxes that an assigner gives to every query. Out, per pair: its class, the IoU
with the query's box at this stage, its rank among the queries of the same ground-truth box; and
maxima per ground-truth box and per image. There is no loop over stages or images.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from ..assigner.boxes import box_area, box_iou
from ..assigner.targets import Target, matched_boxes, matched_labels, pad_targets


class MatchedPairs:
    """Up to R pairs of every query at every stage; entries without a pair are masked out.

    Args:
        gt_indices: (S, B, N, R) long: the assigner's ``assigned_gt_indices``, -1 where unused.
        boxes: (S, B, N, 4), xyxy pixels.
        matches: (S, B, N) long: the matches of every stage, -1 without one.
        targets: B dicts {"boxes": (T, 4) xyxy pixels, "labels": (T,)}.
        rank_queries: whether queries of one ground-truth box are ranked; not in denoising groups.
        image_sizes: (B, 2), (height, width), for `relative_size`.
    """

    def __init__(
        self,
        gt_indices: Tensor,
        boxes: Tensor,
        matches: Tensor,
        targets: Sequence[Target],
        rank_queries: bool = True,
        image_sizes: Tensor | None = None,
    ) -> None:
        self.gt_indices = gt_indices
        self.boxes = boxes.detach()
        self.matches = matches
        self.padded = pad_targets(targets, like=self.boxes)
        self.rank_queries = rank_queries
        self.image_sizes = image_sizes
        self.valid = gt_indices >= 0

    @cached_property
    def labels(self) -> Tensor:
        """(S, B, N, R) long: classes of the ground-truth boxes, 0 where unused."""
        return matched_labels(self.padded, self.gt_indices.flatten(2)).view_as(self.gt_indices)

    @cached_property
    def gt_boxes(self) -> Tensor:
        """(S, B, N, R, 4): the ground-truth boxes, xyxy pixels; arbitrary where unused."""
        boxes = matched_boxes(self.padded, self.gt_indices.flatten(2))  # (S, B, N*R, 4)
        return boxes.view(*self.gt_indices.shape, 4)

    @cached_property
    def iou(self) -> Tensor:
        """(S, B, N, R): IoU with the query's box at this stage, 0 where unused."""
        iou = box_iou(self.boxes.unsqueeze(3), self.gt_boxes)  # (S, B, N, 1, 4) with (.., R, 4)
        return iou.masked_fill(~self.valid, 0.0)

    @cached_property
    def relative_size(self) -> Tensor:
        """(S, B, N, R): sqrt(w h) of the ground-truth box over that of its image, 0 where unused.

        Raises:
            ValueError: there are no ``image_sizes``.
        """
        if self.image_sizes is None:
            raise ValueError("relative_size needs image_sizes, which is None")
        share = box_area(self.gt_boxes) / self.image_sizes.prod(dim=1).view(-1, 1, 1)
        return share.masked_fill(~self.valid, 0.0).sqrt()

    @cached_property
    def ranks(self) -> Tensor:
        """(S, B, N, R) long: 0 for the best IoU among the queries of a ground-truth box at a stage.

        At the last stage matches come first, whatever their IoU. Ties go to the earlier query.
        """
        if not self.rank_queries:
            return torch.zeros_like(self.gt_indices)
        is_match = self.gt_indices[-1] == self.matches[-1].unsqueeze(-1)  # (B, N, R), last stage
        quality = torch.cat([self.iou[:-1], self.iou[-1:] + 2.0 * is_match])
        order = quality.flatten(2).argsort(dim=-1, descending=True, stable=True)  # (S, B, N*R)
        index = self._index.flatten(2)
        # a stable sort by ground-truth box keeps the best entry of each first
        by_gt = index.gather(-1, order).argsort(dim=-1, stable=True)
        order = order.gather(-1, by_gt)
        index = index.gather(-1, order)  # sorted: 0 0 0 1 2 2 ...
        position = torch.arange(index.shape[-1], device=index.device)
        ranks = position - torch.searchsorted(index, index)  # minus where the box's run begins
        return torch.empty_like(order).scatter_(-1, order, ranks).view_as(self.gt_indices)

    @cached_property
    def best_iou(self) -> Tensor:
        """(S, B, T): the best IoU of every ground-truth box with any query, matched or not."""
        iou = box_iou(self.boxes.unsqueeze(3), self.padded.boxes.unsqueeze(1))  # (S, B, N, T)
        return iou.amax(dim=2)

    def largest_per_gt(self, values: Tensor) -> Tensor:
        """Give every entry (S, B, N, R) the largest value among the pairs of its box."""
        index = self._index.flatten(2)  # (S, B, N*R)
        flat = values.masked_fill(~self.valid, 0.0).flatten(2)
        largest = values.new_zeros(*flat.shape[:2], self.padded.labels.shape[1] + 1)  # (S, B, T+1)
        largest.scatter_reduce_(-1, index, flat, "amax")
        return largest.gather(-1, index).view_as(values)

    def largest_per_image(self, values: Tensor) -> Tensor:
        """Return (S, B, 1, 1), the largest value of every image."""
        return values.masked_fill(~self.valid, 0.0).amax(dim=(2, 3), keepdim=True)

    def best_iou_per_gt(self) -> Tensor:
        """Give every entry (S, B, N, R) the best IoU that any query has with its box."""
        unused = self.best_iou.new_zeros(*self.gt_indices.shape[:2], 1)
        best = torch.cat([self.best_iou, unused], dim=-1)  # (S, B, T+1)
        return best.gather(-1, self._index.flatten(2)).view_as(self.gt_indices)

    def best_iou_per_image(self) -> Tensor:
        """Return (S, B, 1, 1), the best IoU of any query with any ground-truth box of the image."""
        best = self.best_iou  # padding has no area, hence IoU 0
        if best.shape[-1] == 0:
            return best.new_zeros(*best.shape[:2], 1, 1)
        return best.amax(dim=-1)[..., None, None]

    @cached_property
    def _index(self) -> Tensor:
        """``gt_indices`` with T, one more than there are, where unused."""
        return torch.where(self.valid, self.gt_indices, self.padded.labels.shape[1])
