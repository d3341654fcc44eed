"""Query weighting: a positive has a positive and a negative loss, weighted by its IoU and score.

A positive of logit x has the loss w+ softplus(-x) + w- softplus(x); w+ and w- are computed, without
gradient, from the probability of its class and the IoU of its box. In terms of `ClassLoss`, the
target is w+ / (w+ + w-), where the loss is minimal, and the weight w+ + w-. Box losses are weighted
by w+. Paper: ASAG (Fu et al., ICCV 2023), section 3.5; after dual weighting (Li et
al., CVPR 2022).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..matched_pairs import MatchedPairs

SCORE_POWER, IOU_POWER = 0.4, 0.6
CENTER, SLOPE = 1 / 3, 4.5


def normalised(first: Tensor, second: Tensor) -> Tensor:
    """Return sigmoid(4.5 (x y - 1/3)) / sigmoid(3): from 0.1915 for x y = 0 to 1 for x y = 1."""
    return ((first * second - CENTER) * SLOPE).sigmoid() / _sigmoid(SLOPE * (1 - CENTER))


def positive_weight(scores: Tensor, iou: Tensor) -> Tensor:
    """Return w+, in [0.1915, 1]."""
    return normalised(scores**SCORE_POWER, iou**IOU_POWER)


def negative_weight(scores: Tensor, iou: Tensor) -> Tensor:
    """Return w-, in [0, 0.8085]: 0 for a box that fits exactly, or a score of 0."""
    fit = iou**IOU_POWER
    misfit = torch.where(fit < 0.5, 1.0, (1 - fit**2) * (4 / 3))
    return normalised(scores**SCORE_POWER, misfit) - _BASE


class QueryWeightTarget:
    """Targets w+ / (w+ + w-) of pairs."""

    @torch.no_grad()
    def __call__(self, pairs: MatchedPairs, scores: Tensor) -> Tensor:
        """Return targets; ``scores`` (S, B, N, R) are the probabilities of the pairs' classes."""
        up, down = positive_weight(scores, pairs.iou), negative_weight(scores, pairs.iou)
        return up / (up + down)


class QueryWeight(nn.Module):
    """Weight w+ + w- of pairs."""

    @torch.no_grad()
    def forward(self, logits: Tensor, targets: Tensor, pairs: MatchedPairs) -> Tensor:
        """Return the weights."""
        scores = logits.sigmoid()
        return positive_weight(scores, pairs.iou) + negative_weight(scores, pairs.iou)


class QueryBoxWeight(nn.Module):
    """Weight w+ of the box losses of matches."""

    @torch.no_grad()
    def forward(self, logits: Tensor, targets: Tensor, pairs: MatchedPairs) -> Tensor:
        """Return the weights."""
        return positive_weight(logits.sigmoid(), pairs.iou)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


_BASE = _sigmoid(-SLOPE * CENTER) / _sigmoid(SLOPE * (1 - CENTER))  # the minimum of w+
