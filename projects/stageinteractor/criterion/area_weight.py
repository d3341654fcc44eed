"""Weights by the size of the ground-truth box, in matching and in losses.

The weight is linear in a = sqrt(w h / (W H)), from that of small boxes to that of boxes as large as
the image (or patch) of size (W, H). The released code of ASAG (Fu et al., ICCV 2023) uses 4 - 3 a
nearly everywhere; the paper does not mention it.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from ..assigner.boxes import box_area
from ..assigner.matching import HungarianMatcher
from ..assigner.targets import PaddedTargets
from .matched_pairs import MatchedPairs


class AreaWeight:
    """Weight of ground-truth boxes by their size.

    Args:
        small: weight of a box without extent.
        large: weight of a box as large as its image.
    """

    def __init__(self, small: float = 4.0, large: float = 1.0) -> None:
        if not (0.0 <= small < math.inf and 0.0 <= large < math.inf):
            raise ValueError(f"weights must be finite and not negative, got {small} and {large}")
        self.small = small
        self.large = large

    def __call__(self, relative_size: Tensor) -> Tensor:
        """Return the weights for a = sqrt(w h / (W H)), of any shape."""
        return self.small + (self.large - self.small) * relative_size


class AreaWeightedMatcher(HungarianMatcher):
    """Match as `HungarianMatcher` does, with the costs of a ground-truth box times its weight.

    Args:
        cost_class, cost_bbox, cost_giou, alpha, gamma: see `HungarianMatcher`.
        area: the weight of a ground-truth box.
    """

    def __init__(
        self,
        cost_class: float = 2.0,
        cost_bbox: float = 5.0,
        cost_giou: float = 2.0,
        alpha: float = 0.25,
        gamma: float = 2.0,
        area: AreaWeight | None = None,
    ) -> None:
        super().__init__(cost_class, cost_bbox, cost_giou, alpha, gamma)
        self.area = area or AreaWeight()

    def costs(
        self, logits: Tensor, boxes: Tensor, padded: PaddedTargets, image_sizes: Tensor
    ) -> Tensor:
        """Return the cost (S, B, N, T) of every pair of query and (padded) ground-truth box."""
        sizes = (box_area(padded.boxes) / image_sizes.prod(dim=1, keepdim=True)).sqrt()  # (B, T)
        costs = super().costs(logits, boxes, padded, image_sizes)
        return costs * self.area(sizes).unsqueeze(1)


class AreaWeighted(nn.Module):
    """Another weight of matched pairs, multiplied by the weight of the ground-truth box.

    Args:
        weight: logits, targets, matched pairs -> weights.
        area: the weight of a ground-truth box.
    """

    def __init__(self, weight: nn.Module, area: AreaWeight | None = None) -> None:
        super().__init__()
        self.weight = weight
        self.area = area or AreaWeight()

    def forward(self, logits: Tensor, targets: Tensor, pairs: MatchedPairs) -> Tensor:
        """Return the weights."""
        weights: Tensor = self.weight(logits, targets, pairs)
        return weights * self.area(pairs.relative_size)
