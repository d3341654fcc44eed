"""Queries for the image at hand: anchors, read and refined once.

Images have different numbers of them; those with fewer are padded with boxes of the whole image,
and a mask tells. Paper: ASAG (Fu et al., ICCV 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ...assigner.targets import Target
from ..anchors.anchors import Anchors, rank_in_image
from ..anchors.generator import AnchorGenerator
from ..anchors.relation_block import RelationBlock
from ..box_coding import xyzr_to_xyxy
from ..decoders.cascade import DecoderOutput
from .denoising import Noised, NoisedObjects
from .interface import Queries


class GeneratedQueries(nn.Module):
    """Give every image queries of its own.

    Args:
        generator: maps, image sizes and objects -> anchors, and what to learn from.
        relation: maps, anchors and mask -> proposals.
        loss: of the anchors, as `stageinteractor.criterion.AnchorLoss`.
        noised: copies of the objects that are more queries in training, behind the anchors.
    """

    def __init__(
        self,
        *,
        generator: AnchorGenerator,
        relation: RelationBlock,
        loss: Callable[..., dict[str, Tensor]],
        noised: NoisedObjects | None = None,
    ) -> None:
        super().__init__()
        self.generator = generator
        self.relation = relation
        self.loss = loss
        self.noised = noised

    def forward(
        self,
        image_sizes: Tensor,
        features: Sequence[Tensor],
        targets: Sequence[Target] | None = None,
    ) -> Queries:
        """Return the queries, the proposals they come from, and in training the anchors' losses.

        Args:
            image_sizes: (B, 2), (height, width) without padding.
            features: L maps (B, D, H_l, W_l).
            targets: in training, B dicts {"boxes": (T, 4) xyxy pixels, "labels": (T,)}.
        """
        found = self.generator(features, image_sizes, targets)
        boxes, valid = padded(found.anchors, image_sizes)
        known = visible = None
        if self.noised is not None and self.training and targets is not None:
            noised = self.noised(targets, image_sizes)
            boxes, valid, visible = behind(boxes, valid, noised)
            known = noised.known
        proposals = self.relation(features, boxes, valid if visible is None else visible)
        losses = None if found.predictions is None else self.loss(*found.predictions)
        stage = DecoderOutput(
            logits=proposals.logits[None],
            boxes=xyzr_to_xyxy(proposals.boxes_xyzr)[None],
            boxes_xyzr=proposals.boxes_xyzr[None],
            content=proposals.content[None],
            valid=valid,
        )
        initial = proposals.content, proposals.boxes_xyzr.detach()
        return Queries(*initial, valid, stage, losses, known, visible)


def behind(boxes: Tensor, valid: Tensor | None, noised: Noised) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes, the mask of those not padded, and who sees whom, with noised objects behind.

    Args:
        boxes: (B, N, 4) xyxy pixels.
        valid: (B, N) bool, or None if none is padded.
        noised: M copies of objects.
    """
    if valid is None:
        valid = torch.ones(boxes.shape[:2], dtype=torch.bool, device=boxes.device)
    boxes = torch.cat([boxes, noised.boxes.to(boxes)], dim=1)
    return boxes, torch.cat([valid, noised.known >= 0], dim=1), noised.visible(valid)


def padded(anchors: Anchors, image_sizes: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return boxes (B, N, 4), xyxy pixels, best first, and the mask (B, N) of those not padded.

    The mask is None where all images have as many anchors.

    Args:
        anchors: of all images.
        image_sizes: (B, 2), (height, width); boxes of padding are as large.
    """
    counts = torch.bincount(anchors.images, minlength=len(image_sizes)).tolist()
    most = max(counts, default=0)
    whole = torch.cat([torch.zeros_like(image_sizes), image_sizes.flip(-1)], dim=-1)
    place = anchors.images, rank_in_image(anchors)
    boxes = whole.to(anchors.boxes)[:, None].repeat(1, most, 1).index_put(place, anchors.boxes)
    if min(counts, default=0) == most:
        return boxes, None
    valid = torch.zeros(boxes.shape[:2], dtype=torch.bool, device=boxes.device)
    return boxes, valid.index_put(place, torch.ones_like(anchors.images, dtype=torch.bool))
