"""The loss of duplicate removal: one-to-one matching by the suppressor's own scores.

In: logits of a `modeling.decoders.duplicate_suppressor.DuplicateSuppressor`, boxes of the
detector's last stage. Out: one class loss. It is no stage of `SetCriterion`: cross-stage labels
would spread its one-to-one matches to earlier stages, and theirs to it. Source: MDS-DETR (Lee et
al., 2026), its released code; without the box losses, which have no gradient there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..assigner.interface import Matcher
from ..assigner.masks import not_none
from ..assigner.per_stage import PerStageAssigner
from ..assigner.targets import SharedTargets, Target
from .assignment import Assignment
from .denoising import Predictions
from .distributed import step_average
from .interface import AssignmentLoss


class SuppressorLoss(nn.Module):
    """Match queries to ground truth one-to-one, and return the class loss.

    Args:
        matcher: such as `HungarianMatcher`.
        class_loss: such as the varifocal loss of ``common/class_loss.py``: targets are IoUs.
        weight: of the loss.
    """

    def __init__(self, matcher: Matcher, class_loss: AssignmentLoss, weight: float = 1.0) -> None:
        super().__init__()
        self.matcher = matcher
        self.class_loss = class_loss
        self.weight = weight

    def forward(
        self,
        logits: Tensor,
        boxes: Tensor,
        targets: Sequence[Target],
        image_sizes: Tensor,
        query_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return {"loss_suppressor_class": ...}, weighted.

        The sum over queries and classes is divided by the number of matches, averaged over the
        ranks and at least 1 in total.

        Args:
            logits: (B, N, C).
            boxes: (B, N, 4), xyxy pixels; they get no gradient.
            targets: B dicts {"boxes": (T, 4) xyxy pixels, "labels": (T,)}.
            image_sizes: (B, 2), (height, width) without padding.
            query_mask: (B, N) bool: True for real queries; padding has no loss.
        """
        with torch.autocast(logits.device.type, enabled=False):
            dtype = torch.float64 if boxes.dtype == torch.float64 else torch.float32
            predictions = Predictions(logits[None].to(dtype), boxes[None].to(dtype), query_mask)
            boxes, targets = predictions.detached_boxes(), SharedTargets(targets)
            masks = not_none(query_mask=query_mask)
            matches = self.matcher(
                predictions.logits.detach(), boxes, targets, image_sizes, **masks
            )
            assignment = Assignment(
                PerStageAssigner(), boxes, matches, targets, logits.shape[-1], image_sizes
            )
            entries, _ = self.class_loss(predictions.logits, assignment)  # (1, B, N, C)
            if query_mask is not None:
                entries = entries.masked_fill(~query_mask.unsqueeze(-1), 0.0)
            num_matches = step_average((matches >= 0).sum().to(dtype))
            return {"loss_suppressor_class": self.weight * entries.sum() / num_matches}
