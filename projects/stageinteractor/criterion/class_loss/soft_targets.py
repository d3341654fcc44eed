"""Soft targets of class losses: t(IoU, probability, rank) of every matched pair.

The target of a pair is its quality (a function of IoU and score), optionally rescaled and decayed.
`RescalePerImage` and `RescalePerGt` raise it where no query of the image, or of the ground-truth
box, is good; `RankDecay` lowers it for all but the best query of a ground-truth box. Sources:
Stable-DINO (Liu et al., ICCV 2023, equation 3, table 7) for the qualities and the rescaling, which
per ground-truth box is TOOD's (Feng et al., ICCV 2021); Align-DETR (Cai et al., BMVC 2024) for the
decay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from ..matched_pairs import MatchedPairs

EPS = 1e-8  # of the released code


class Quality(Protocol):
    """The quality of matched pairs: `Power`, `Exponential`, `Sine`."""

    def __call__(self, iou: Tensor, scores: Tensor) -> Tensor:
        """Return qualities in [0, 1], from IoU and probability, of the same shape."""


class TargetChange(Protocol):
    """Changes targets: `RescalePerImage`, `RescalePerGt`, `RankDecay`."""

    def __call__(self, targets: Tensor, pairs: MatchedPairs) -> Tensor:
        """Return the changed targets (S, B, N, R)."""


class SoftTarget:
    """Targets (S, B, N, R) in [0, 1] of matched pairs: a quality, rescaled, then decayed.

    Args:
        quality: IoU and probability -> quality.
        rescale: raises targets, if given.
        decay: lowers the targets of all but the best query of a ground-truth box, if given.
        min_target: the minimum target.
    """

    def __init__(
        self,
        quality: Quality,
        rescale: TargetChange | None = None,
        decay: TargetChange | None = None,
        min_target: float = 0.0,
    ) -> None:
        if not 0.0 <= min_target <= 1.0:
            raise ValueError(f"min_target must lie in [0, 1], got {min_target}")
        self.quality = quality
        self.rescale = rescale
        self.decay = decay
        self.min_target = min_target

    @torch.no_grad()
    def __call__(self, pairs: MatchedPairs, scores: Tensor) -> Tensor:
        """Return targets; ``scores`` (S, B, N, R) are the probabilities of the pairs' classes."""
        targets = self.quality(pairs.iou, scores)
        if self.rescale is not None:
            targets = self.rescale(targets, pairs)
        if self.decay is not None:
            targets = self.decay(targets, pairs)
        return targets.clamp(min=self.min_target, max=1.0)


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
    """Scale the targets of an image so that the largest is 1 or the best IoU; never down.

    Args:
        to: "one", or "best_iou": the largest IoU of any query and ground-truth box of the image.
    """

    def __init__(self, to: str = "one") -> None:
        self.to = _checked(to)

    def __call__(self, targets: Tensor, pairs: MatchedPairs) -> Tensor:
        """Return targets * max(1, goal / largest target of the image)."""
        goal = 1.0 if self.to == "one" else pairs.best_iou_per_image()
        return _scaled(targets, goal, pairs.largest_per_image(targets))


class RescalePerGt:
    """Scale the targets of a ground-truth box so that the largest is 1 or its best IoU; never down.

    Args:
        to: "one", or "best_iou": the largest IoU of any query with the ground-truth box.
    """

    def __init__(self, to: str = "best_iou") -> None:
        self.to = _checked(to)

    def __call__(self, targets: Tensor, pairs: MatchedPairs) -> Tensor:
        """Return targets * max(1, goal / largest target of the ground-truth box)."""
        goal = 1.0 if self.to == "one" else pairs.best_iou_per_gt()
        return _scaled(targets, goal, pairs.largest_per_gt(targets))


class RankDecay:
    """Multiply targets by exp(-rank / tau), with one tau for each of the last stages.

    Args:
        taus: of the last stages in order; None means no decay, as at all earlier stages.
    """

    def __init__(self, taus: Sequence[float | None] = (0.33, 0.33)) -> None:
        if not all(tau is None or 0.0 < tau < math.inf for tau in taus):
            raise ValueError(f"every tau must be positive or None, got {list(taus)}")
        self.taus = list(taus)

    def __call__(self, targets: Tensor, pairs: MatchedPairs) -> Tensor:
        """Return the decayed targets (S, B, N, R)."""
        stages = len(targets)
        taus = ([None] * stages + self.taus)[-stages:]
        rates = [0.0 if tau is None else 1.0 / tau for tau in taus]
        rate = torch.tensor(rates, dtype=targets.dtype).to(targets.device, non_blocking=True)
        return targets * torch.exp(-pairs.ranks * rate.view(-1, 1, 1, 1))


def _checked(to: str) -> str:
    if to not in ("one", "best_iou"):
        raise ValueError(f"to must be 'one' or 'best_iou', got {to!r}")
    return to


def _scaled(targets: Tensor, goal: float | Tensor, largest: Tensor) -> Tensor:
    return targets * (goal / (largest + EPS)).clamp(min=1.0)
