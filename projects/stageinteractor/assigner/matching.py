"""One-to-one matching of queries and objects, all decoder stages and images in one go.

In: logits and boxes of all stages, the objects of all images. Out: for every query the index of
its object, or -1. The costs of all stages and images are one tensor that is copied to the host
once; only the Hungarian solver itself runs problem by problem. Paper: section 3.1; the costs are
those of Deformable-DETR and AdaMixer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from .boxes import edges, giou_of_extents, hull_extent, shared_extent
from .targets import PaddedTargets, Target, pad_targets


class HungarianMatcher:
    """Match queries to objects at the least sum of class, L1 and GIoU costs.

    Args:
        cost_class: weight of the focal class cost.
        cost_bbox: weight of the L1 distance of xyxy boxes divided by the image's (w, h, w, h).
        cost_giou: weight of the negative GIoU in pixels.
        alpha, gamma: balance and focusing parameter of the focal class cost.
    """

    def __init__(
        self,
        cost_class: float = 2.0,
        cost_bbox: float = 5.0,
        cost_giou: float = 2.0,
        alpha: float = 0.25,
        gamma: float = 2.0,
    ) -> None:
        weights = (cost_class, cost_bbox, cost_giou)
        if not all(0 <= weight < math.inf for weight in weights) or max(weights) == 0:
            raise ValueError("the cost weights must be finite, not negative and not all zero")
        self.cost_class = cost_class
        self.cost_bbox = cost_bbox
        self.cost_giou = cost_giou
        self.alpha = alpha
        self.gamma = gamma

    @torch.no_grad()
    def __call__(
        self,
        logits: Tensor,
        boxes: Tensor,
        targets: Sequence[Target],
        image_sizes: Tensor,
        query_mask: Tensor | None = None,
    ) -> Tensor:
        """Match every stage and image by itself.

        Args:
            logits: (S, B, N, C), before the sigmoid.
            boxes: (S, B, N, 4), xyxy pixels.
            targets: B dicts {"boxes": (T, 4) xyxy pixels, "labels": (T,)}.
            image_sizes: (B, 2), (height, width) of the images without padding.
            query_mask: (B, N) bool: True for real queries; padding is not matched.

        Returns:
            (S, B, N) long: index of the matched object in its image, -1 for background. With
            more objects than queries, N of the objects are matched.

        Raises:
            ValueError: shapes do not fit together.
            FloatingPointError: a cost is NaN or infinite.
        """
        _check_shapes(logits, boxes, targets, image_sizes)
        with torch.autocast(logits.device.type, enabled=False):
            dtype = torch.float64 if boxes.dtype == torch.float64 else torch.float32
            padded = pad_targets(targets, like=boxes.to(dtype))
            costs = self.costs(logits.to(dtype), boxes.to(dtype), padded, image_sizes.to(dtype))
        rows = None if query_mask is None else query_mask.cpu().numpy()
        matches = solve(costs.cpu().numpy(), padded.counts, rows)
        return matches.to(boxes.device, non_blocking=True)

    def costs(
        self, logits: Tensor, boxes: Tensor, padded: PaddedTargets, image_sizes: Tensor
    ) -> Tensor:
        """Return the cost (S, B, N, T) of every pair of query and (padded) object."""
        a, b = edges(boxes.unsqueeze(3)), edges(padded.boxes.unsqueeze(1))
        shared, hull = shared_extent(a, b), hull_extent(a, b)  # (S, B, N, T) each
        height, width = image_sizes.view(-1, 2, 1, 1).unbind(1)  # (B, 1, 1) each
        # left and right edges are together as far apart as the hull is wider than the shared part
        distance = (hull[0] - shared[0]) / width + (hull[1] - shared[1]) / height
        giou = giou_of_extents(a, b, shared, hull)
        right = self.scores(logits, padded, giou)
        return (
            self.cost_class * self._class_cost(right)
            + self.cost_bbox * distance
            - self.cost_giou * giou
        )

    def scores(self, logits: Tensor, padded: PaddedTargets, giou: Tensor) -> Tensor:
        """Return (S, B, N, T), the probability that a query gives to an object's class."""
        index = padded.labels.unsqueeze(1).expand_as(giou)
        return logits.gather(3, index).sigmoid()

    def _class_cost(self, right: Tensor) -> Tensor:
        wrong = 1 - right
        positive = self.alpha * wrong**self.gamma * (right + 1e-12).log()
        negative = (1 - self.alpha) * right**self.gamma * (wrong + 1e-12).log()
        return negative - positive


def solve(costs: np.ndarray, counts: list[int], query_mask: np.ndarray | None = None) -> Tensor:
    """Solve the assignment of costs (S, B, N, T), image b having ``counts[b]`` objects.

    With ``query_mask`` (B, N) bool, padding takes no part.
    """
    matches = np.full(costs.shape[:3], -1, dtype=np.int64)
    finite = np.isfinite(costs).all()
    for stage, image in np.ndindex(*costs.shape[:2]):
        cost = costs[stage, image, :, : counts[image]]
        cost = cost if query_mask is None else cost[query_mask[image]]
        if not finite and not np.isfinite(cost).all():
            raise FloatingPointError(
                f"matching costs of stage {stage}, image {image} of the batch are not finite: "
                "the logits or boxes of this stage have become NaN or infinite"
            )
        queries, objects = linear_sum_assignment(cost)
        queries = queries if query_mask is None else np.flatnonzero(query_mask[image])[queries]
        matches[stage, image, queries] = objects
    return torch.from_numpy(matches)


def _check_shapes(
    logits: Tensor, boxes: Tensor, targets: Sequence[Target], image_sizes: Tensor
) -> None:
    if logits.dim() != 4 or boxes.shape != (*logits.shape[:3], 4):
        raise ValueError(
            "expected logits (S, B, N, C) and boxes (S, B, N, 4), "
            f"got {tuple(logits.shape)} and {tuple(boxes.shape)}"
        )
    images = logits.shape[1]
    if len(targets) != images or image_sizes.shape != (images, 2):
        raise ValueError(
            f"expected {images} targets and image sizes ({images}, 2), "
            f"got {len(targets)} and {tuple(image_sizes.shape)}"
        )
