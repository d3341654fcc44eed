"""Class losses: logits and targets in, one number per query and class out."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn


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
