"""A `ClassLoss` in place of the class loss of a third-party criterion (the host).

In: the host's logits and boxes, and pairs of query and ground-truth box. Out: sums of the loss over
queries and classes, to be divided by the host's number of boxes. All decoder stages are computed at
once, because a target may depend on the stage.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..assigner.boxes import cxcywh_to_xyxy
from ..assigner.targets import Target
from ..criterion.class_loss import ClassLoss
from ..criterion.matched_pairs import MatchedPairs
from .host_outputs import Outputs, labels_of, logits_of
from .host_pairs import SIDE, Pairs, all_queries


class HostClassLoss(nn.Module):
    """A class loss with the key of the host's.

    Args:
        loss: `stageinteractor.criterion.ClassLoss`.
        name: the host's key, such as "loss_ce".
    """

    def __init__(self, loss: ClassLoss, name: str) -> None:
        super().__init__()
        self.loss = loss
        self.name = name

    def of_stages(
        self,
        stages: Sequence[Outputs],
        targets: Sequence[Target],
        matches: Tensor,
        queries: Tensor,
        gt_indices: Tensor,
    ) -> Tensor:
        """Return the sums (S,) of the decoder stages.

        Args:
            stages: logits (B, N, C) and boxes (B, N, 4), cxcywh normalised, of every stage.
            targets: the host's.
            matches: (S, B, N) long: index of the matched ground-truth box or -1.
            queries: (B, K) long: those that are matched at any stage.
            gt_indices: (S, B, K, R) long: their ``assigned_gt_indices``, -1 where unused.
        """
        logits = torch.stack([logits_of(stage) for stage in stages])  # (S, B, N, C)
        boxes = torch.stack([stage["pred_boxes"].detach() for stage in stages])  # (S, B, N, 4)
        used = max(int((gt_indices >= 0).flatten(0, 2).any(dim=0).sum()), 1)
        queries, gt_indices, matches = (
            x.to(logits.device, non_blocking=True)
            for x in (queries, gt_indices[..., :used], matches)
        )
        assigned = all_queries(gt_indices, queries, matches.shape[2])
        return self._sums(logits, boxes, targets, assigned, matches, rank_queries=True)

    def of_pairs(self, outputs: Outputs, targets: Sequence[Target], pairs: Pairs) -> Tensor:
        """Return the sum for other outputs, such as denoising queries or the encoder's proposals.

        Queries of one ground-truth box are not ranked.

        Args:
            outputs: logits (B, N, C) and boxes (B, N, 4), cxcywh normalised.
            targets: those that the host computes this loss with.
            pairs: of every image, queries, each at most once, and ground-truth boxes, on any
                device.
        """
        logits, boxes = logits_of(outputs), outputs["pred_boxes"].detach()
        image = torch.cat([torch.full_like(queries, i) for i, (queries, _) in enumerate(pairs)])
        query, index = (torch.cat(list(each)) for each in zip(*pairs, strict=True))
        image, query, index = (
            x.to(logits.device, non_blocking=True) for x in (image, query, index)
        )
        matches = torch.full(logits.shape[:2], -1, device=logits.device)
        matches[image, query] = index
        matches = matches.unsqueeze(0)
        return self._sums(
            logits[None], boxes[None], targets, matches.unsqueeze(-1), matches, rank_queries=False
        )[0]

    def _sums(
        self,
        logits: Tensor,
        boxes: Tensor,
        targets: Sequence[Target],
        gt_indices: Tensor,
        matches: Tensor,
        rank_queries: bool,
    ) -> Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
            targets = [
                {"boxes": cxcywh_to_xyxy(t["boxes"].to(boxes)) * SIDE, "labels": labels_of(t)}
                for t in targets
            ]
            boxes = cxcywh_to_xyxy(boxes) * SIDE
            sizes = boxes.new_full((len(targets), 2), SIDE)
            pairs = MatchedPairs(gt_indices, boxes, matches, targets, rank_queries, sizes)
            return self.loss.entries(logits, pairs).sum(dim=(1, 2, 3))
