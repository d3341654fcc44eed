"""One-to-one matching of queries and ground-truth boxes, for all decoder stages and images at once.

In: logits and boxes of all stages, the ground truth of all images. Out: for every query the index
of its ground-truth box, or -1. The costs of all stages and images are one tensor that is copied to
the host once; only the Hungarian solver runs problem by problem. Paper: section 3.1; the costs are
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
from .targets import PaddedTargets, Target, check_labels, pad_targets


class WeightedCost:
    """The matching cost of a pair: a weighted sum of focal class cost, L1 distance and GIoU.

    The base of `HungarianMatcher` and of the matchers of third-party criteria.

    Args:
        cost_class: weight of the focal class cost.
        cost_bbox: weight of the L1 distance of boxes.
        cost_giou: weight of the negative GIoU.
        alpha, gamma: balance and focusing parameter of the focal class cost.

    Raises:
        ValueError: a weight is negative or infinite, or all are zero.
    """

    log_eps = 1e-12  # added to probabilities, whose logarithm is taken

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

    def weighted_cost(self, scores: Tensor, distance: Tensor, giou: Tensor) -> Tensor:
        """Return the cost of pairs, given tensors of one shape.

        Args:
            scores: probability of the ground-truth box's class.
            distance: L1 distance of the boxes.
            giou: their generalised IoU.
        """
        rest = 1 - scores
        positive = self.alpha * rest**self.gamma * (scores + self.log_eps).log()
        negative = (1 - self.alpha) * scores**self.gamma * (rest + self.log_eps).log()
        class_cost = negative - positive
        return self.cost_class * class_cost + self.cost_bbox * distance - self.cost_giou * giou


class HungarianMatcher(WeightedCost):
    """Match queries to ground-truth boxes at the minimum sum of class, L1 and GIoU costs.

    Args:
        cost_class: weight of the focal class cost.
        cost_bbox: weight of the L1 distance of xyxy boxes divided by the image's (w, h, w, h).
        cost_giou: weight of the negative GIoU in pixels.
        alpha, gamma: balance and focusing parameter of the focal class cost.
    """

    @torch.no_grad()
    def __call__(
        self,
        logits: Tensor,
        boxes: Tensor,
        targets: Sequence[Target],
        image_sizes: Tensor,
        query_mask: Tensor | None = None,
    ) -> Tensor:
        """Match every stage of every image.

        Args:
            logits: (S, B, N, C), before the sigmoid.
            boxes: (S, B, N, 4), xyxy pixels.
            targets: B dicts {"boxes": (T, 4) xyxy pixels, "labels": (T,), 0 to C - 1}.
            image_sizes: (B, 2), (height, width) of the images without padding.
            query_mask: (B, N) bool: True for real queries; padding is not matched.

        Returns:
            (S, B, N) long: index of the matched ground-truth box in its image, -1 for background.
            With more boxes than queries, N of the boxes are matched.

        Raises:
            ValueError: shapes do not fit together, or, on a CPU, a label is not 0 to C - 1.
            FloatingPointError: a cost is NaN or infinite.
        """
        check_predictions(logits, boxes, targets, image_sizes)
        with torch.autocast(logits.device.type, enabled=False):
            dtype = torch.float64 if boxes.dtype == torch.float64 else torch.float32
            padded = pad_targets(targets, like=boxes.to(dtype))
            check_labels(padded, logits.shape[-1])
            costs = self.costs(logits.to(dtype), boxes.to(dtype), padded, image_sizes.to(dtype))
        rows = None if query_mask is None else query_mask.cpu().numpy()
        matches = self.solve(costs.cpu().numpy(), padded.counts, rows)
        return matches.to(boxes.device, non_blocking=True)

    def solve(self, costs: np.ndarray, counts: list[int], rows: np.ndarray | None) -> Tensor:
        """Return the matches (S, B, N), on the host; see the function `solve`."""
        return solve(costs, counts, rows)

    def costs(
        self, logits: Tensor, boxes: Tensor, padded: PaddedTargets, image_sizes: Tensor
    ) -> Tensor:
        """Return the cost (S, B, N, T) of every pair of query and (padded) ground-truth box."""
        a, b = edges(boxes.unsqueeze(3)), edges(padded.boxes.unsqueeze(1))
        shared, hull = shared_extent(a, b), hull_extent(a, b)  # (S, B, N, T) each
        height, width = image_sizes.view(-1, 2, 1, 1).unbind(1)  # (B, 1, 1) each
        # |left - left'| + |right - right'| is the width of the hull minus that of the intersection
        distance = (hull[0] - shared[0]) / width + (hull[1] - shared[1]) / height
        giou = giou_of_extents(a, b, shared, hull)
        return self.weighted_cost(self.scores(logits, padded, giou), distance, giou)

    def scores(self, logits: Tensor, padded: PaddedTargets, giou: Tensor) -> Tensor:
        """Return (S, B, N, T), the probability of every ground-truth box's class."""
        index = padded.labels.unsqueeze(1).expand_as(giou)  # (S, B, N, T)
        return logits.gather(3, index).sigmoid()


def solve(
    costs: np.ndarray,
    counts: list[int],
    query_mask: np.ndarray | None = None,
    copies: Sequence[int] | None = None,
) -> Tensor:
    """Solve the assignment problems of all stages and images.

    Args:
        costs: (S, B, N, T).
        counts: the number of ground-truth boxes of every image; further columns are padding.
        query_mask: (B, N) bool: False for padding.
        copies: of every ground-truth box at each stage, fewer where queries are short; by default
            one.

    Returns:
        matches (S, B, N) long, on the host.

    Raises:
        FloatingPointError: a cost is NaN or infinite.
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
        if copies is not None and cost.size:
            cost = np.tile(cost, max(1, min(copies[stage], cost.shape[0] // cost.shape[1])))
        queries, gt_indices = linear_sum_assignment(cost)
        queries = queries if query_mask is None else np.flatnonzero(query_mask[image])[queries]
        matches[stage, image, queries] = gt_indices % max(counts[image], 1)
    return torch.from_numpy(matches)


def check_predictions(
    logits: Tensor, boxes: Tensor, targets: Sequence[Target], image_sizes: Tensor
) -> None:
    """Raise ValueError unless logits, boxes, targets and image sizes fit together."""
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
