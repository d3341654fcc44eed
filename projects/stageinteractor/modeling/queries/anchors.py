"""Anchor queries (ASAG): anchors predicted from the image.

Their content is pooled from the feature maps inside the boxes. Images have different numbers
of anchors; images with fewer are padded with boxes of the whole image, which the query mask leaves
out. Paper: ASAG (Fu et al., ICCV 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from ...assigner.targets import Target
from ..anchors.anchor_boxes import Anchors, rank_in_image
from ..anchors.generator import AnchorGenerator
from ..anchors.predictions import PatchPredictions
from ..anchors.relation_block import RelationBlock
from ..box_coding import whole_image_boxes
from ..interface import Queries, stacked, stage_attn_mask
from .denoising import DenoisingBoxes, DenoisingQueries


class AnchorCriterion(Protocol):
    """Computes the losses of the anchors, as `stageinteractor.criterion.AnchorLoss` does."""

    def __call__(
        self,
        quarters: PatchPredictions,
        whole: PatchPredictions,
        crops: PatchPredictions,
        num_gt: int,
    ) -> dict[str, Tensor]:
        """Return weighted losses of the fields of `AnchorPredictions`.

        Args:
            quarters: predictions in the quarters of every image.
            whole: predictions in every whole image and in its flipped versions.
            crops: predictions in the crops of every finer level.
            num_gt: T, summed over the images.
        """


class AnchorQueries(nn.Module):
    """Predict the queries of every image.

    Args:
        generator: maps, image sizes and ground truth -> anchors, and the input of their loss.
        relation: maps, anchors and mask -> proposals.
        loss: of the anchors, as `stageinteractor.criterion.AnchorLoss`.
        denoising: makes denoising queries, which follow the anchors, in training.
    """

    def __init__(
        self,
        *,
        generator: AnchorGenerator,
        relation: RelationBlock,
        loss: AnchorCriterion,
        denoising: DenoisingQueries | None = None,
    ) -> None:
        super().__init__()
        self.generator = generator
        self.relation = relation
        self.loss = loss
        self.denoising = denoising

    def forward(
        self,
        image_sizes: Tensor,
        features: Sequence[Tensor],
        targets: Sequence[Target] | None = None,
    ) -> Queries:
        """Return the queries with their proposals, and in training the anchors' losses.

        Args:
            image_sizes: (B, 2), (height, width) without padding.
            features: L maps (B, D, H_l, W_l).
            targets: in training, B dicts {"boxes": (T, 4) xyxy pixels, "labels": (T,)}.
        """
        generated = self.generator(features, image_sizes, targets)
        boxes, query_mask = padded(generated.anchors, image_sizes)
        dn_gt_indices = attn_mask = None
        if self.denoising is not None and self.training and targets is not None:
            copies = self.denoising(targets, image_sizes)
            boxes, query_mask, attn_mask = append_denoising(boxes, query_mask, copies)
            dn_gt_indices = copies.gt_indices
        stage_mask = stage_attn_mask(query_mask, attn_mask)
        proposals = self.relation(features, boxes, stage_mask)
        losses = None if generated.predictions is None else self.loss(*generated.predictions)
        return Queries(
            content=proposals.content,
            boxes=proposals.boxes_xyzr.detach(),
            query_mask=query_mask,
            proposals=stacked([proposals], query_mask),
            losses=losses,
            dn_gt_indices=dn_gt_indices,
            attn_mask=attn_mask,
        )


def append_denoising(
    boxes: Tensor, query_mask: Tensor | None, copies: DenoisingBoxes
) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes, query mask and attention mask with the denoising queries at the end.

    Args:
        boxes: (B, N, 4) xyxy pixels.
        query_mask: (B, N) bool, or None if none is padding.
        copies: M noisy copies of ground-truth boxes.
    """
    if query_mask is None:
        query_mask = torch.ones(boxes.shape[:2], dtype=torch.bool, device=boxes.device)
    boxes = torch.cat([boxes, copies.boxes.to(boxes)], dim=1)
    together = torch.cat([query_mask, copies.gt_indices >= 0], dim=1)
    return boxes, together, copies.attn_mask(query_mask)


def padded(anchors: Anchors, image_sizes: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return boxes (B, N, 4), xyxy pixels, best first, and the query mask (B, N).

    The mask is None if all images have the same number of anchors.

    Args:
        anchors: of all images.
        image_sizes: (B, 2), (height, width); that of padding boxes.
    """
    counts = torch.bincount(anchors.images, minlength=len(image_sizes)).tolist()
    max_anchors = max(counts, default=0)
    whole = whole_image_boxes(image_sizes)
    index = anchors.images, rank_in_image(anchors)
    boxes = (
        whole.to(anchors.boxes)[:, None].repeat(1, max_anchors, 1).index_put(index, anchors.boxes)
    )
    if min(counts, default=0) == max_anchors:
        return boxes, None
    query_mask = torch.zeros(boxes.shape[:2], dtype=torch.bool, device=boxes.device)
    return boxes, query_mask.index_put(index, torch.ones_like(anchors.images, dtype=torch.bool))
