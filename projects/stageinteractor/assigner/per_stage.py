"""The assigner of DETR-like detectors: class targets of a stage come from its matches alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .cross_stage import padded_for, scatter_labels
from .targets import Target, check_labels, matched_labels


class PerStageAssigner:
    """Turn matches into per-stage, one-hot class targets."""

    @torch.no_grad()
    def __call__(
        self, boxes: Tensor, matches: Tensor, targets: Sequence[Target], num_classes: int
    ) -> Tensor:
        """Return class targets (S, B, N, C); the arguments are those of CrossStageAssigner."""
        padded = padded_for(boxes, matches, targets)
        check_labels(padded, num_classes)
        labels = matched_labels(padded, matches).unsqueeze(-1)
        return scatter_labels(labels, (matches >= 0).unsqueeze(-1), num_classes).to(boxes.dtype)

    def assigned_gt_indices(
        self, boxes: Tensor, matches: Tensor, targets: Sequence[Target]
    ) -> Tensor:
        """Return (S, B, N, 1) long: the match of every query, -1 without one."""
        padded_for(boxes, matches, targets)
        return matches.unsqueeze(-1)

    def scope_mask(self, num_stages: int) -> Tensor:
        """Return (S, S) bool: every stage gathers labels from itself only."""
        return torch.eye(num_stages, dtype=torch.bool)
