"""Weights by the size of the object, in matching and in losses.

With a = sqrt(w h) of an object in parts of its image (or patch) the weight goes linearly from that
of small objects to that of objects as large as the image. The released code of ASAG (Fu et al.,
ICCV 2023) has 4 - 3 a nearly everywhere; the paper does not tell.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from ..assigner.boxes import box_area
from ..assigner.matching import HungarianMatcher
from ..assigner.targets import PaddedTargets
from .matched_pairs import MatchedPairs


class AreaWeight:
    """Weight of objects by their size.

    Args:
        small: weight of an object without extent.
        large: weight of an object as large as its image.
    """

    def __init__(self, small: float = 4.0, large: float = 1.0) -> None:
        if not (0.0 <= small < math.inf and 0.0 <= large < math.inf):
            raise ValueError(f"weights must be finite and not negative, got {small} and {large}")
        self.small = small
        self.large = large

    def __call__(self, relative_size: Tensor) -> Tensor:
        """Return the weights of objects with sqrt(w h) in parts of their image."""
        return self.small + (self.large - self.small) * relative_size


class AreaWeightedMatcher(HungarianMatcher):
    """Match as `HungarianMatcher` does, with all costs of an object multiplied by its weight.

    Args:
        cost_class, cost_bbox, cost_giou, alpha, gamma: as of `HungarianMatcher`.
        area: the weight of an object.
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
        """Return the cost (S, B, N, T) of every pair of query and (padded) object."""
        sizes = (box_area(padded.boxes) / image_sizes.prod(dim=1, keepdim=True)).sqrt()  # (B, T)
        costs = super().costs(logits, boxes, padded, image_sizes)
        return costs * self.area(sizes).unsqueeze(1)


class AreaWeighted(nn.Module):
    """Another weight of positives, multiplied by the weight of the object.

    Args:
        weight: logits, targets, positives -> weights.
        area: the weight of an object.
    """

    def __init__(self, weight: nn.Module, area: AreaWeight | None = None) -> None:
        super().__init__()
        self.weight = weight
        self.area = area or AreaWeight()

    def forward(self, logits: Tensor, targets: Tensor, positives: MatchedPairs) -> Tensor:
        """Return the weights."""
        return self.weight(logits, targets, positives) * self.area(positives.relative_size)
