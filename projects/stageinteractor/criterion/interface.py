"""What a class loss and its parts take and return.

The criterion itself is described by `stageinteractor.modeling.interface.Criterion`.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from .assignment import Assignment
from .matched_pairs import MatchedPairs


class AssignmentLoss(Protocol):
    """A class loss of all decoder stages: `FocalLoss`, `ClassLoss`."""

    def __call__(self, logits: Tensor, assignment: Assignment) -> tuple[Tensor, Tensor]:
        """Return the loss (S, B, N, C) of every entry, and the number of labels (S,)."""


class TargetRule(Protocol):
    """Gives matched pairs the targets of a class loss: `SoftTarget`, `QueryWeightTarget`."""

    def __call__(self, pairs: MatchedPairs, scores: Tensor) -> Tensor:
        """Return targets (S, B, N, R) in [0, 1], from the probabilities of the pairs' classes."""


class PairWeight(Protocol):
    """Weights the class or box losses of matched pairs, such as `DistanceWeight`."""

    def __call__(self, logits: Tensor, targets: Tensor, pairs: MatchedPairs) -> Tensor:
        """Return weights (S, B, N, R) for logits and targets of that shape."""


class NegativeWeight(Protocol):
    """Weights the class loss of negatives, such as `ScoreWeight`."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Return weights of the shape of the logits."""
