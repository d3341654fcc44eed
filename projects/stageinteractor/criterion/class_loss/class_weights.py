"""Weights of the entries of a class loss: a weight of positives and a weight of negatives.

Weights of positives are computed from logits, targets and matched pairs, weights of negatives from
logits alone. Gradients flow through them as through the rest of the loss, unless `Detached` stops
them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..matched_pairs import MatchedPairs


class DistanceWeight(nn.Module):
    """Weight alpha * abs(t - p)^gamma of a positive with target t and probability p."""

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0) -> None:
        super().__init__()
        _check(alpha, gamma)
        self.alpha = alpha
        self.gamma = gamma

    def forward(self, logits: Tensor, targets: Tensor, pairs: MatchedPairs) -> Tensor:
        """Return the weights; t - p = t (1 - p) - (1 - t) p, each from the logit, is exact."""
        difference = targets * (-logits).sigmoid() - (1 - targets) * logits.sigmoid()
        return self.alpha * difference.abs() ** self.gamma


class TargetWeight(nn.Module):
    """Weight t of a positive with target t."""

    def forward(self, logits: Tensor, targets: Tensor, pairs: MatchedPairs) -> Tensor:
        """Return the weights."""
        return targets


class EqualWeight(nn.Module):
    """Weight 1 of every positive."""

    def forward(self, logits: Tensor, targets: Tensor, pairs: MatchedPairs) -> Tensor:
        """Return the weights."""
        return torch.ones_like(targets)


class RankWeight(nn.Module):
    """Weight exp(-rank / tau) of a positive among the queries of its ground-truth box.

    The rank is that of the IoU at the stage. Source: Align-DETR (Cai et al., BMVC 2024), which
    weights box losses so.

    Args:
        tau: the smaller, the less all but the best query weigh.
    """

    def __init__(self, tau: float = 1.5) -> None:
        super().__init__()
        if not 0.0 < tau < math.inf:
            raise ValueError(f"tau must be finite and positive, got {tau}")
        self.tau = tau

    def forward(self, logits: Tensor, targets: Tensor, pairs: MatchedPairs) -> Tensor:
        """Return the weights."""
        return torch.exp(-pairs.ranks.to(targets.dtype) / self.tau)


class ScoreWeight(nn.Module):
    """Weight alpha * p^gamma of a negative with probability p."""

    def __init__(self, alpha: float = 0.75, gamma: float = 2.0) -> None:
        super().__init__()
        _check(alpha, gamma)
        self.alpha = alpha
        self.gamma = gamma

    def forward(self, logits: Tensor) -> Tensor:
        """Return the weights."""
        return self.alpha * logits.sigmoid() ** self.gamma


class Detached(nn.Module):
    """A weight without gradient.

    Args:
        weight: of positives or of negatives.
    """

    def __init__(self, weight: nn.Module) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, logits: Tensor, *args: Tensor | MatchedPairs) -> Tensor:
        """Return the weights; the arguments are those of the weight."""
        weights: Tensor = self.weight(logits.detach(), *args)
        return weights


def _check(alpha: float, gamma: float) -> None:
    if not 0.0 <= alpha < math.inf or not (gamma == 0.0 or 1.0 <= gamma < math.inf):
        raise ValueError(
            "alpha must be finite and not negative and gamma 0 or at least 1 (in between, "
            f"gradients are infinite), got {alpha} and {gamma}"
        )
