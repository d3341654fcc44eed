"""The pairs of query and object that a class loss learns from, and how well the boxes fit.

In: the objects that an assigner names. Out: for every one of them its class, the IoU with the
query's own box at this stage, its rank among the queries of the same object, and the largest values
of an object or an image, all without a loop over stages or images.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from ..assigner.boxes import box_area, box_iou
from ..assigner.targets import Target, matched_boxes, matched_labels, pad_targets


class MatchedPairs:
    """What the queries of all stages learn; R entries a query, those without an object masked out.

    Args:
        objects: (S, B, N, R) long: the assigner's ``assigned_gt_indices``, -1 where there is none.
        boxes: (S, B, N, 4), xyxy pixels.
        matches: (S, B, N) long: the stages' own matches, -1 without one.
        targets: B dicts {"boxes": (T, 4) xyxy pixels, "labels": (T,)}.
        rank_queries: whether queries of one object are ranked. Those of denoising groups are not.
        image_sizes: (B, 2), (height, width), for what looks at the size of objects.
    """

    def __init__(
        self,
        objects: Tensor,
        boxes: Tensor,
        matches: Tensor,
        targets: Sequence[Target],
        rank_queries: bool = True,
        image_sizes: Tensor | None = None,
    ) -> None:
        self.objects = objects
        self.boxes = boxes.detach()
        self.matches = matches
        self.padded = pad_targets(targets, like=self.boxes)
        self.rank_queries = rank_queries
        self.image_sizes = image_sizes
        self.valid = objects >= 0

    @cached_property
    def labels(self) -> Tensor:
        """(S, B, N, R) long: classes of the objects, 0 where there is none."""
        return matched_labels(self.padded, self.objects.flatten(2)).view_as(self.objects)

    @cached_property
    def iou(self) -> Tensor:
        """(S, B, N, R): overlap of the query's box at this stage, 0 where there is no object."""
        iou = box_iou(self.boxes.unsqueeze(3), self.object_boxes)
        return iou.masked_fill(~self.valid, 0.0)

    @cached_property
    def object_boxes(self) -> Tensor:
        """(S, B, N, R, 4): boxes of the objects, xyxy pixels, of no meaning where there is none."""
        return matched_boxes(self.padded, self.objects.flatten(2)).view(*self.objects.shape, 4)

    @cached_property
    def relative_size(self) -> Tensor:
        """(S, B, N, R): sqrt(w h) of the objects in parts of their image, 0 where there is none."""
        if self.image_sizes is None:
            raise ValueError("the sizes of the images are needed, and these positives have none")
        share = box_area(self.object_boxes) / self.image_sizes.prod(dim=1).view(-1, 1, 1)
        return share.masked_fill(~self.valid, 0.0).sqrt()

    @cached_property
    def ranks(self) -> Tensor:
        """(S, B, N, R) long: 0 for the best IoU among the queries of the object at this stage.

        At the last stage the own match comes first, whatever its IoU is. Of equal ones the earlier
        query comes first.
        """
        if not self.rank_queries:
            return torch.zeros_like(self.objects)
        own_at_last = self.objects[-1] == self.matches[-1].unsqueeze(-1)
        first = torch.cat([self.iou[:-1], self.iou[-1:].masked_fill(own_at_last, 2.0)])
        order = first.flatten(2).argsort(dim=-1, descending=True, stable=True)
        objects = self._index.flatten(2)
        by_object = objects.gather(-1, order).argsort(dim=-1, stable=True)
        order = order.gather(-1, by_object)  # entries by object, and of each the best first
        objects = objects.gather(-1, order)
        place = torch.arange(objects.shape[-1], device=objects.device)
        ranks = place - torch.searchsorted(objects, objects)  # minus where the object begins
        return torch.empty_like(order).scatter_(-1, order, ranks).view_as(self.objects)

    @cached_property
    def best_iou(self) -> Tensor:
        """(S, B, T): the best overlap of every object with any query, matched or not."""
        iou = box_iou(self.boxes.unsqueeze(3), self.padded.boxes.unsqueeze(1))  # (S, B, N, T)
        return iou.amax(dim=2)

    def largest_of_objects(self, values: Tensor) -> Tensor:
        """Give every entry (S, B, N, R) the largest value among the queries of its object."""
        flat, index = values.masked_fill(~self.valid, 0.0).flatten(2), self._index.flatten(2)
        most = values.new_zeros(*flat.shape[:2], self.padded.labels.shape[1] + 1)
        most.scatter_reduce_(-1, index, flat, "amax")
        return most.gather(-1, index).view_as(values)

    def largest_of_images(self, values: Tensor) -> Tensor:
        """Return (S, B, 1, 1), the largest value of every image."""
        return values.masked_fill(~self.valid, 0.0).amax(dim=(2, 3), keepdim=True)

    def best_iou_of_objects(self) -> Tensor:
        """Give every entry (S, B, N, R) the best IoU that any query has with its object."""
        padded = torch.cat([self.best_iou, self.best_iou.new_zeros(*self.objects.shape[:2], 1)], -1)
        return padded.gather(-1, self._index.flatten(2)).view_as(self.objects)

    def best_iou_of_images(self) -> Tensor:
        """Return (S, B, 1, 1), the best IoU of any query with any object of the image."""
        best = self.best_iou  # 0 of what pads an image, which has no area
        if best.shape[-1] == 0:
            return best.new_zeros(*best.shape[:2], 1, 1)
        return best.amax(dim=-1)[..., None, None]

    @cached_property
    def _index(self) -> Tensor:
        """The objects, with T, one more than there are, where there is none."""
        return torch.where(self.valid, self.objects, self.padded.labels.shape[1])
