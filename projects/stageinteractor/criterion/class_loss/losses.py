"""Class losses: logits and what the queries learn in, one number per query and class out.

`ClassLoss` is the slot: a target, a weight of positives and a weight of negatives make focal,
position-supervised, varifocal and other losses (``configs/common/class_loss.py``). `FocalLoss` is
the plain one again, in less time.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..assignment import Assignment
from ..matched_pairs import MatchedPairs

TargetRule = Callable[[MatchedPairs, Tensor], Tensor]


class FocalLoss(nn.Module):
    """Sigmoid focal loss for targets 0 and 1 (Lin et al., ICCV 2017, equation 5).

    Args:
        alpha: weight of positives; negatives weigh 1 - alpha.
        gamma: focusing parameter, 0 or at least 1: in between, the gradient of an entry that is
            surely right would be infinite.
    """

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0) -> None:
        super().__init__()
        if not 0.0 <= alpha <= 1.0 or not (gamma == 0.0 or 1.0 <= gamma < math.inf):
            raise ValueError(
                f"alpha must lie in [0, 1] and gamma be 0 or at least 1, got {alpha} and {gamma}"
            )
        self.alpha = alpha
        self.gamma = gamma

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of every entry; logits and targets have the same shape.

        With z the logit of being wrong (-x for a positive, x for a negative) both cases are
        weight sigmoid(z)^gamma softplus(z): no logarithm of a rounded probability, and one
        softplus, which costs more than all the rest together.
        """
        wrong = logits * (1 - 2 * targets)
        weight = (1 - self.alpha) + (2 * self.alpha - 1) * targets
        return weight * wrong.sigmoid() ** self.gamma * F.softplus(wrong)

    def entries(self, logits: Tensor, assignment: Assignment) -> Tensor:
        """Return the loss (S, B, N, C) of what the queries learn."""
        return self(logits, assignment.class_targets)


class ClassLoss(nn.Module):
    """A class loss whose targets may lie between 0 and 1.

    An entry (query, class) that is learnt has weight+(x, t) * BCE(x, t), every other one
    weight-(x) * BCE(x, 0), with x the logit and BCE(x, t) = t softplus(-x) + (1 - t) softplus(x):
    no logarithm of a rounded probability. Half precision is computed in float32.

    Args:
        target: positives and the probabilities of their classes -> targets t (`SoftTarget`).
        positive_weight: logits, targets, positives -> weights.
        negative_weight: logits -> weights.
    """

    def __init__(
        self, target: TargetRule, positive_weight: nn.Module, negative_weight: nn.Module
    ) -> None:
        super().__init__()
        self.target = target
        self.positive_weight = positive_weight
        self.negative_weight = negative_weight

    def forward(self, logits: Tensor, positives: MatchedPairs) -> Tensor:
        """Return the loss (S, B, N, C) of every entry of logits of that shape."""
        logits = logits.float() if logits.element_size() < 4 else logits
        labels, valid = positives.labels, positives.valid
        chosen = logits.gather(-1, labels)  # (S, B, N, R)
        targets = self.target(positives, chosen.detach().sigmoid()).to(chosen)
        cross_entropy = targets * F.softplus(-chosen) + (1 - targets) * F.softplus(chosen)
        weight = self.positive_weight(chosen, targets, positives)
        learnt = torch.where(valid, weight * cross_entropy, 0.0)
        others = self.negative_weight(logits) * F.softplus(logits)
        # classes of a query differ, so that sums put every entry in its place
        count = torch.zeros_like(logits).scatter_add_(-1, labels, valid.to(logits.dtype))
        placed = torch.zeros_like(logits).scatter_add(-1, labels, learnt)
        return torch.where(count > 0, placed, others)

    def entries(self, logits: Tensor, assignment: Assignment) -> Tensor:
        """Return the loss (S, B, N, C) of what the queries learn."""
        return self(logits, assignment.positives)
