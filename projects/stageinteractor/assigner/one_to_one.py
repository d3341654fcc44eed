"""Cross-stage labels at all stages but the last, which stays one-to-one.

Without NMS the detections are the predictions of the last stage. Labels from other stages assign
one ground-truth box to several queries, which leads to duplicates, so the last stage can be left
out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .interface import Assigner
from .per_stage import PerStageAssigner
from .targets import Target


class OneToOneAtLastStage(nn.Module):
    """Assign as another assigner does, but per stage at the last stage.

    Every ground-truth box then has one query there, whatever its IoU. Earlier stages still gather
    the labels of the last one.

    Args:
        assigner: for all earlier stages.
    """

    def __init__(self, assigner: Assigner) -> None:
        super().__init__()
        self.assigner = assigner
        self.last = PerStageAssigner()

    @torch.no_grad()
    def forward(
        self, boxes: Tensor, matches: Tensor, targets: Sequence[Target], num_classes: int
    ) -> Tensor:
        """Return class targets (S, B, N, C); the arguments are those of CrossStageAssigner."""
        before = self.assigner(boxes, matches, targets, num_classes)[:-1]
        return torch.cat([before, self.last(boxes[-1:], matches[-1:], targets, num_classes)])

    @torch.no_grad()
    def assigned_gt_indices(
        self, boxes: Tensor, matches: Tensor, targets: Sequence[Target]
    ) -> Tensor:
        """Return the ground-truth boxes behind them (S, B, N, R), -1 for unused entries."""
        before = self.assigner.assigned_gt_indices(boxes, matches, targets)[:-1]
        last = matches.new_full((1, *matches.shape[1:], before.shape[-1]), -1)
        last[..., 0] = matches[-1]
        return torch.cat([before, last])

    def scope_mask(self, num_stages: int) -> Tensor:
        """Return (S, S) bool: whether stage i (row) gathers labels from stage s (column)."""
        mask = self.assigner.scope_mask(num_stages).clone()
        mask[-1] = False
        mask[-1, -1] = True
        return mask
