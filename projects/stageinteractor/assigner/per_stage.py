"""The assigner of DETR-like detectors: class targets of a stage come from its matches alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .cross_stage import check_matches, scatter_labels
from .targets import Target, matched_labels, pad_targets


class PerStageAssigner:
    """Turn matches into per-stage, one-hot class targets."""

    @torch.no_grad()
    def __call__(
        self, boxes: Tensor, matches: Tensor, targets: Sequence[Target], num_classes: int
    ) -> Tensor:
        """Return class targets (S, B, N, C); the arguments are those of CrossStageAssigner."""
        check_matches(boxes, matches)
        labels = matched_labels(pad_targets(targets, like=boxes), matches).unsqueeze(-1)
        return scatter_labels(labels, (matches >= 0).unsqueeze(-1), num_classes).to(boxes.dtype)

    def assigned_gt_indices(
        self, boxes: Tensor, matches: Tensor, targets: Sequence[Target]
    ) -> Tensor:
        """Return (S, B, N, 1) long: the match of every query, -1 without one."""
        check_matches(boxes, matches)
        return matches.unsqueeze(-1)

    def scope_mask(self, num_stages: int) -> Tensor:
        """Return (S, S) bool: every stage gathers labels from itself only."""
        return torch.eye(num_stages, dtype=torch.bool)
