"""The position-modulated cost: the class cost of a pair depends on the fit of the box.

Stable-DINO (Liu et al., ICCV 2023, equation 4): the class cost of a query and a ground-truth box
uses p' = p * s'^0.5 instead of the probability p, with s' = (GIoU + 1) / 2. It is computed per
pair; the released code shares s' among boxes of a class and among the images of a batch.
"""

from __future__ import annotations

import math

from torch import Tensor

from .matching import HungarianMatcher
from .targets import PaddedTargets

EPS = 1e-8  # of the released code


def modulated(
    scores: Tensor, giou: Tensor, exponent: float, largest: Tensor | None = None
) -> Tensor:
    """Return p' = p * s'^exponent of pairs, bit for bit p where the exponent is 0.

    Args:
        scores: probabilities p of the ground-truth classes.
        giou: generalised IoU of the pairs, in [-1, 1].
        exponent: of s', not negative.
        largest: if given, the largest GIoU of an image: s' is scaled so that it becomes 1 there.
    """
    fit = _fit(giou)
    if largest is not None:
        fit = fit * (1.0 / (_fit(largest) + EPS)).clamp(min=1.0)
    return scores * fit**exponent


def check_exponent(exponent: float) -> None:
    """Raise ValueError unless an exponent of s' is finite and not negative."""
    if not 0.0 <= exponent < math.inf:
        raise ValueError(f"exponent must be finite and not negative, got {exponent}")


class PositionModulatedMatcher(HungarianMatcher):
    """Match as `HungarianMatcher` does, with the position-modulated class cost.

    Args:
        cost_class, cost_bbox, cost_giou, alpha, gamma: see `HungarianMatcher`.
        exponent: of s' = (GIoU + 1) / 2; 0 is the plain cost.
        rescale: scale s' so that the best pair of every image has 1, as the released code does and
            the paper does not.
    """

    def __init__(
        self,
        cost_class: float = 2.0,
        cost_bbox: float = 5.0,
        cost_giou: float = 2.0,
        alpha: float = 0.25,
        gamma: float = 2.0,
        exponent: float = 0.5,
        rescale: bool = False,
    ) -> None:
        super().__init__(cost_class, cost_bbox, cost_giou, alpha, gamma)
        check_exponent(exponent)
        self.exponent = exponent
        self.rescale = rescale

    def scores(self, logits: Tensor, padded: PaddedTargets, giou: Tensor) -> Tensor:
        """Return (S, B, N, T), the modulated probability of every ground-truth box's class."""
        largest = largest_giou(giou, padded.mask) if self.rescale else None
        return modulated(super().scores(logits, padded, giou), giou, self.exponent, largest)


def _fit(giou: Tensor) -> Tensor:
    return ((giou + 1.0) / 2.0).clamp(min=0.0)  # rounding can leave [-1, 1]


def largest_giou(giou: Tensor, mask: Tensor) -> Tensor:
    """Return the largest GIoU of every image, without padding: (..., B, N, T) -> (..., B, 1, 1).

    Args:
        giou: of all pairs of query and (padded) ground-truth box.
        mask: (B, T) bool: False for padding.
    """
    if giou.shape[-1] == 0:
        return giou.new_ones(*giou.shape[:-2], 1, 1)
    return giou.masked_fill(~mask[:, None], -1.0).amax(dim=(-2, -1), keepdim=True)
