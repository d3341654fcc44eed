"""Targets of class losses that look at the box: t(IoU, probability, rank).

A target is a quality of the pair of query and object, scaled up where no query of the image (or of
the object) is good, and turned down for queries that are not an object's best. Sources: Stable-DINO
(Liu et al., ICCV 2023, equation 3, table 7) for the qualities and the scaling, which is
after TOOD (Feng et al., ICCV 2021) where it goes by object, Align-DETR (Cai et al., BMVC 2024) for
the ranks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..matched_pairs import MatchedPairs

Quality = Callable[[Tensor, Tensor], Tensor]  # IoU, probability -> quality in [0, 1]
Change = Callable[[Tensor, MatchedPairs], Tensor]  # targets, positives -> targets
EPS = 1e-8  # of the released code


class SoftTarget:
    """Targets (S, B, N, R) in [0, 1] of positives, from a quality and changes of it in order.

    Args:
        quality: IoU and probability -> quality.
        rescale: how targets are scaled up, if they are.
        decay: how targets of queries that are not an object's best are turned down, if they are.
        floor: the least target of a positive.
    """

    def __init__(
        self,
        quality: Quality,
        rescale: Change | None = None,
        decay: Change | None = None,
        floor: float = 0.0,
    ) -> None:
        if not 0.0 <= floor <= 1.0:
            raise ValueError(f"floor must lie in [0, 1], got {floor}")
        self.quality = quality
        self.rescale = rescale
        self.decay = decay
        self.floor = floor

    @torch.no_grad()
    def __call__(self, positives: MatchedPairs, scores: Tensor) -> Tensor:
        """Return targets; ``scores`` (S, B, N, R) are the probabilities of the objects' classes."""
        targets = self.quality(positives.iou, scores)
        if self.rescale is not None:
            targets = self.rescale(targets, positives)
        if self.decay is not None:
            targets = self.decay(targets, positives)
        return targets.clamp(min=self.floor, max=1.0)


class Power:
    """Quality IoU^iou * p^score; with both 0 it is 1, the target of the plain focal loss."""

    def __init__(self, iou: float = 2.0, score: float = 0.0) -> None:
        if not (0.0 <= iou < math.inf and 0.0 <= score < math.inf):
            raise ValueError(f"exponents must be finite and not negative, got {iou} and {score}")
        self.iou = iou
        self.score = score

    def __call__(self, iou: Tensor, scores: Tensor) -> Tensor:
        """Return the quality of every pair."""
        return iou**self.iou * scores**self.score


class Exponential:
    """Quality (e^IoU - 1) / (e - 1)."""

    def __call__(self, iou: Tensor, scores: Tensor) -> Tensor:
        """Return the quality of every pair."""
        return torch.expm1(iou) / math.expm1(1.0)


class Sine:
    """Quality sin(pi IoU / 2)."""

    def __call__(self, iou: Tensor, scores: Tensor) -> Tensor:
        """Return the quality of every pair."""
        return torch.sin(iou * (math.pi / 2))


class RescalePerImage:
    """Scale the targets of an image so that the largest becomes 1, or the best IoU; never down.

    Args:
        to: "one", or "best_iou": the largest IoU of any query and any object of the image.
    """

    def __init__(self, to: str = "one") -> None:
        self.to = _checked(to)

    def __call__(self, targets: Tensor, positives: MatchedPairs) -> Tensor:
        """Return targets * max(1, goal / largest target of the image)."""
        goal = 1.0 if self.to == "one" else positives.best_iou_of_images()
        return _scaled(targets, goal, positives.largest_of_images(targets))


class RescalePerObject:
    """Scale the targets of an object so that the largest becomes 1, or its best IoU; never down.

    Args:
        to: "one", or "best_iou": the largest IoU of any query with the object.
    """

    def __init__(self, to: str = "best_iou") -> None:
        self.to = _checked(to)

    def __call__(self, targets: Tensor, positives: MatchedPairs) -> Tensor:
        """Return targets * max(1, goal / largest target of the object)."""
        goal = 1.0 if self.to == "one" else positives.best_iou_of_objects()
        return _scaled(targets, goal, positives.largest_of_objects(targets))


class RankDecay:
    """Multiply targets by exp(-rank / tau), a tau for each of the last stages.

    Args:
        taus: of the last stages in order; None, and all stages before, have no decay.
    """

    def __init__(self, taus: Sequence[float | None] = (0.33, 0.33)) -> None:
        if not all(tau is None or 0.0 < tau < math.inf for tau in taus):
            raise ValueError(f"every tau must be positive or None, got {list(taus)}")
        self.taus = list(taus)

    def __call__(self, targets: Tensor, positives: MatchedPairs) -> Tensor:
        """Return the targets (S, B, N, R) of lower ranks turned down."""
        stages = len(targets)
        taus = ([None] * stages + self.taus)[-stages:]
        rates = [0.0 if tau is None else 1.0 / tau for tau in taus]
        rate = torch.tensor(rates, dtype=targets.dtype).to(targets.device, non_blocking=True)
        return targets * torch.exp(-positives.ranks * rate.view(-1, 1, 1, 1))


def _checked(to: str) -> str:
    if to not in ("one", "best_iou"):
        raise ValueError(f"to must be 'one' or 'best_iou', got {to!r}")
    return to


def _scaled(targets: Tensor, goal: float | Tensor, largest: Tensor) -> Tensor:
    return targets * (goal / (largest + EPS)).clamp(min=1.0)
