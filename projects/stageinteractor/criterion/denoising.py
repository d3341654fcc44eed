"""Denoising queries: noisy copies of ground-truth boxes, which are not matched.

In: predictions of all queries, and the ground-truth boxes of the last M. Out: the predictions of
matched and of denoising queries, and the assignment of the latter: at every stage, the ground-truth
box they are a copy of. `gt_indices` are chosen by `modeling/queries/denoising.py`. Source: Li et
al., "DN-DETR", CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from ..assigner.per_stage import PerStageAssigner
from ..assigner.targets import Target
from .assignment import Assignment


class Predictions(NamedTuple):
    """Predictions of all stages."""

    logits: Tensor  # (S, B, N, C)
    boxes: Tensor  # (S, B, N, 4) xyxy pixels
    query_mask: Tensor | None  # (B, N) bool: True for real queries; None if none is padding

    def detached_boxes(self) -> Tensor:
        """Return boxes without gradient; those of padding are 0, so that they overlap nothing."""
        boxes = self.boxes.detach()
        if self.query_mask is None:
            return boxes
        return boxes.masked_fill(~self.query_mask[..., None], 0.0)


def split(predictions: Predictions, gt_indices: Tensor) -> tuple[Predictions, Predictions]:
    """Return the predictions of the matched queries, and those of the denoising queries.

    Args:
        predictions: of both, denoising queries last.
        gt_indices: (B, M) long: ground-truth boxes of the last M queries, -1 for padding.

    Raises:
        ValueError: shapes do not fit together.
    """
    logits, boxes, query_mask = predictions
    images, queries = logits.shape[1:3]
    if gt_indices.dim() != 2 or len(gt_indices) != images or gt_indices.shape[1] > queries:
        raise ValueError(
            f"expected dn_gt_indices (B, M) of the last queries of logits {tuple(logits.shape)}, "
            f"got {tuple(gt_indices.shape)}"
        )
    count = queries - gt_indices.shape[1]
    mask = None if query_mask is None else query_mask[:, :count]
    matched = Predictions(logits[:, :, :count], boxes[:, :, :count], mask)
    return matched, Predictions(logits[:, :, count:], boxes[:, :, count:], gt_indices >= 0)


def denoising_assignment(
    predictions: Predictions, gt_indices: Tensor, targets: Sequence[Target], image_sizes: Tensor
) -> Assignment:
    """Return the assignment of denoising queries, which does not depend on their predictions.

    Copies of one ground-truth box are not ranked against each other.

    Args:
        predictions: of the denoising queries.
        gt_indices: (B, M) long: their ground-truth boxes, -1 for padding.
        targets: B dicts {"boxes": (T, 4) xyxy pixels, "labels": (T,)}.
        image_sizes: (B, 2), (height, width).
    """
    stages, *_, num_classes = predictions.logits.shape
    return Assignment(
        PerStageAssigner(),
        predictions.detached_boxes(),
        gt_indices.expand(stages, -1, -1),
        targets,
        num_classes,
        image_sizes,
        rank_queries=False,
    )
