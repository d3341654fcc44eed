"""Our class loss in the place of a host's.

In: logits and boxes of a host and the pairs of query and object that they learn from. Out: sums of
the loss over queries and classes, still to be divided by the host's number of boxes. All decoder
stages are computed at once, because a target may look at the depth of its stage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..assigner.boxes import cxcywh_to_xyxy
from ..criterion.class_loss import ClassLoss
from ..criterion.matched_pairs import MatchedPairs
from .host_outputs import Outputs, labels_of, logits_of
from .host_pairs import SIDE, Pairs

Targets = Sequence[Mapping[str, Tensor]]


class HostClassLoss(nn.Module):
    """A class loss under a host's name of it.

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
        targets: Targets,
        matches: Tensor,
        queries: Tensor,
        ranked: Tensor,
    ) -> Tensor:
        """Return the sums (S,) of the decoder stages.

        Args:
            stages: logits (B, N, C) and boxes (B, N, 4), cxcywh normalised, of every stage.
            targets: the host's.
            matches: (S, B, N) long: index of the matched object or -1.
            queries: (B, K) long: those that learn at any stage.
            ranked: (S, B, K, R) long: their objects, -1 where there are no more.
        """
        logits = torch.stack([logits_of(stage) for stage in stages])
        boxes = torch.stack([stage["pred_boxes"].detach() for stage in stages])
        ranks = max(int((ranked >= 0).flatten(0, 2).any(dim=0).sum()), 1)
        queries, ranked, matches = (
            x.to(logits.device, non_blocking=True) for x in (queries, ranked[..., :ranks], matches)
        )
        objects = matches.new_full((*matches.shape, ranks), -1)
        objects.scatter_(2, queries.unsqueeze(-1).expand_as(ranked), ranked)
        return self._sums(logits, boxes, targets, objects, matches, rank_queries=True)

    def of_pairs(self, outputs: Outputs, targets: Targets, pairs: Pairs) -> Tensor:
        """Return the sum of anything else, such as denoising queries or the encoder's proposals.

        They learn their own pairs, in which queries of an object do not compete.

        Args:
            outputs: logits (B, N, C) and boxes (B, N, 4), cxcywh normalised.
            targets: what the host computes this loss with.
            pairs: of every image queries, each at most once, and objects, on any device.
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
        targets: Targets,
        objects: Tensor,
        matches: Tensor,
        rank_queries: bool,
    ) -> Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
            known = [
                {"boxes": cxcywh_to_xyxy(t["boxes"].to(boxes)) * SIDE, "labels": labels_of(t)}
                for t in targets
            ]
            boxes = cxcywh_to_xyxy(boxes) * SIDE
            sizes = boxes.new_full((len(known), 2), SIDE)
            positives = MatchedPairs(objects, boxes, matches, known, rank_queries, sizes)
            return self.loss(logits, positives).sum(dim=(1, 2, 3))
