"""What every matcher and every assigner is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from .targets import Target


class Matcher(Protocol):
    """Matches queries to ground-truth boxes, as `HungarianMatcher` does."""

    def __call__(
        self,
        logits: Tensor,
        boxes: Tensor,
        targets: Sequence[Target],
        image_sizes: Tensor,
        query_mask: Tensor | None = None,
    ) -> Tensor:
        """Return matches (S, B, N) long: index of the ground-truth box, or -1."""


class Assigner(Protocol):
    """Turns matches into class targets, as `CrossStageAssigner` does."""

    def __call__(
        self, boxes: Tensor, matches: Tensor, targets: Sequence[Target], num_classes: int
    ) -> Tensor:
        """Return class targets (S, B, N, C)."""

    def assigned_gt_indices(
        self, boxes: Tensor, matches: Tensor, targets: Sequence[Target]
    ) -> Tensor:
        """Return the ground-truth boxes behind them (S, B, N, R), -1 for unused entries."""

    def scope_mask(self, num_stages: int) -> Tensor:
        """Return (S, S) bool: whether stage i (row) gathers labels from stage s (column)."""
