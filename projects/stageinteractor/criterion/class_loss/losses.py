"""Class losses: logits and an assignment in, the loss of every entry and the number of labels out.

`ClassLoss` is composed: a target, a weight of positives and a weight of negatives make focal,
position-supervised, varifocal and other losses (``configs/common/class_loss.py``). `FocalLoss` is
the plain focal loss, computed faster.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..assignment import Assignment
from ..interface import NegativeWeight, PairWeight, TargetRule
from ..matched_pairs import MatchedPairs


class FocalLoss(nn.Module):
    """Sigmoid focal loss for targets 0 and 1 (Lin et al., ICCV 2017, equation 5).

    Args:
        alpha: weight of positives; negatives weigh 1 - alpha.
        gamma: focusing parameter, 0 or at least 1: in between, the gradient of a perfectly
            classified entry is infinite.
    """

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0) -> None:
        super().__init__()
        if not 0.0 <= alpha <= 1.0 or not (gamma == 0.0 or 1.0 <= gamma < math.inf):
            raise ValueError(
                f"alpha must lie in [0, 1] and gamma be 0 or at least 1, got {alpha} and {gamma}"
            )
        self.alpha = alpha
        self.gamma = gamma

    def forward(self, logits: Tensor, assignment: Assignment) -> tuple[Tensor, Tensor]:
        """Return the loss (S, B, N, C) of every entry, and the number of labels (S,)."""
        targets = assignment.class_targets
        return self.entries(logits, targets), targets.sum(dim=(1, 2, 3))

    def entries(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of every entry; logits and targets have the same shape.

        With z = -x for a positive and z = x for a negative of logit x, both have the loss
        weight * sigmoid(z)^gamma * softplus(z). This takes no logarithm of a rounded probability,
        and only one softplus, the most expensive operation.
        """
        z = logits * (1 - 2 * targets)
        weight = (1 - self.alpha) + (2 * self.alpha - 1) * targets
        return weight * z.sigmoid() ** self.gamma * F.softplus(z)


class ClassLoss(nn.Module):
    """A class loss whose targets may lie between 0 and 1.

    A positive entry (query, class) has the loss weight+(x, t) * BCE(x, t), every other entry
    weight-(x) * BCE(x, 0), with x the logit and BCE(x, t) = t softplus(-x) + (1 - t) softplus(x).
    Half precision is computed in float32.

    Args:
        target: matched pairs, probabilities of their classes -> targets t (`SoftTarget`).
        positive_weight: logits, targets, matched pairs -> weights.
        negative_weight: logits -> weights.
    """

    def __init__(
        self, target: TargetRule, positive_weight: PairWeight, negative_weight: NegativeWeight
    ) -> None:
        super().__init__()
        self.target = target
        self.positive_weight = positive_weight
        self.negative_weight = negative_weight

    def forward(self, logits: Tensor, assignment: Assignment) -> tuple[Tensor, Tensor]:
        """Return the loss (S, B, N, C) of every entry, and the number of labels (S,)."""
        pairs = assignment.label_pairs
        entries = self.entries(logits, pairs)
        return entries, pairs.valid.sum(dim=(1, 2, 3)).to(entries.dtype)

    def entries(self, logits: Tensor, pairs: MatchedPairs) -> Tensor:
        """Return the loss (S, B, N, C) of every entry; the classes of a query's pairs differ."""
        logits = logits.float() if logits.element_size() < 4 else logits
        labels, valid = pairs.labels, pairs.valid  # (S, B, N, R) each: R pairs per query
        chosen = logits.gather(-1, labels)  # (S, B, N, R)
        targets = self.target(pairs, chosen.detach().sigmoid()).to(chosen)
        cross_entropy = targets * F.softplus(-chosen) + (1 - targets) * F.softplus(chosen)
        weight = self.positive_weight(chosen, targets, pairs)
        positive = torch.where(valid, weight * cross_entropy, 0.0)
        negative = self.negative_weight(logits) * F.softplus(logits)  # (S, B, N, C)
        # (S, B, N, R) -> (S, B, N, C): an entry has at most one pair, so the sums move values
        is_positive = torch.zeros_like(logits).scatter_add_(-1, labels, valid.to(logits.dtype))
        placed = torch.zeros_like(logits).scatter_add(-1, labels, positive)
        return torch.where(is_positive > 0, placed, negative)
