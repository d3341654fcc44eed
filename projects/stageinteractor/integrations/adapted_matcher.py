"""A matcher of `stageinteractor.assigner` as the matcher of a third-party criterion (the host)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..assigner.boxes import cxcywh_to_xyxy
from ..assigner.interface import Matcher
from .host_matcher import described
from .host_outputs import Outputs, labels_of, logits_of
from .host_pairs import SIDE, Pairs, groups_as_images, pairs_of_groups


class AdaptedMatcher(nn.Module):
    """Match the outputs of a host with a matcher such as `QualityTopKMatcher`.

    With one-to-many matches the host's box losses are over all pairs, divided by its own number
    of ground-truth boxes. A host calls its matcher stage by stage, so that every stage is the last
    one to the matcher: `CopiesMatcher` uses its ``last_copies``.

    Args:
        matcher: logits, boxes, targets, image sizes -> matches (S, B, N).
    """

    def __init__(self, matcher: Matcher) -> None:
        super().__init__()
        self.matcher = matcher

    @torch.no_grad()
    def forward(
        self, outputs: Outputs, targets: Sequence[dict[str, Tensor]], group_detr: int = 1
    ) -> Pairs:
        """Match every image.

        Args:
            outputs: "pred_logits" or "logits" (B, N, C) before the sigmoid, and "pred_boxes"
                (B, N, 4), cxcywh normalised.
            targets: B dicts {"labels" or "class_labels": (T,), "boxes": (T, 4) cxcywh normalised}.
            group_detr: number of consecutive groups of queries, each of which is matched by itself
                (LW-DETR, RF-DETR).

        Returns:
            Per image, the matched queries, ascending, and their ground-truth boxes: int64 on the
            CPU.
        """
        logits, boxes = logits_of(outputs).detach(), outputs["pred_boxes"].detach()
        logits, boxes = groups_as_images(logits, group_detr), groups_as_images(boxes, group_detr)
        scaled = [
            {"boxes": cxcywh_to_xyxy(t["boxes"]) * SIDE, "labels": labels_of(t)} for t in targets
        ] * group_detr
        sizes = boxes.new_full((len(scaled), 2), SIDE)
        boxes = cxcywh_to_xyxy(boxes).unsqueeze(0) * SIDE
        matches = self.matcher(logits.unsqueeze(0), boxes, scaled, sizes)[0].cpu()
        return pairs_of_groups(matches, group_detr)

    def __repr__(self, _repr_indent: int = 4) -> str:
        """Return a description; detrex's criteria pass the indent of its lines."""
        return described(self, ("matcher",), _repr_indent)
