"""Queries whose objects are known: the last ones, noised copies of objects. Nothing is matched.

In: predictions of all queries, and the objects of the last M. Out: the predictions of both kinds,
and what the noised ones learn: at every stage the object that they were made of. Source: Li et al.,
"DN-DETR", CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from ..assigner.per_stage import PerStageAssigner
from ..assigner.targets import Target
from .assignment import Assignment


class Predictions(NamedTuple):
    """What all stages predict, and which queries learn from it."""

    logits: Tensor  # (S, B, N, C)
    boxes: Tensor  # (S, B, N, 4) xyxy pixels
    valid: Tensor | None  # (B, N) bool: queries that are no padding; None if all are none

    def fixed_boxes(self) -> Tensor:
        """Return boxes without gradient; those of padding are 0, to be no object's best."""
        boxes = self.boxes.detach()
        return boxes if self.valid is None else boxes.masked_fill(~self.valid[..., None], 0.0)


def split(predictions: Predictions, known: Tensor) -> tuple[Predictions, Predictions]:
    """Return the predictions of ordinary queries, and those of the last, whose objects are known.

    Args:
        predictions: of both.
        known: (B, M) long: the objects of the last M queries, -1 for padding.

    Raises:
        ValueError: there are not as many images or queries.
    """
    logits, boxes, valid = predictions
    if known.dim() != 2 or known.shape[0] != logits.shape[1] or known.shape[1] > logits.shape[2]:
        raise ValueError(
            f"expected the known objects (B, M) of the last queries of logits "
            f"{tuple(logits.shape)}, got {tuple(known.shape)}"
        )
    count = logits.shape[2] - known.shape[1]
    first = Predictions(
        logits[:, :, :count], boxes[:, :, :count], None if valid is None else valid[:, :count]
    )
    return first, Predictions(logits[:, :, count:], boxes[:, :, count:], known >= 0)


def known_assignment(
    predictions: Predictions, known: Tensor, targets: Sequence[Target], image_sizes: Tensor
) -> Assignment:
    """Return what noised queries learn: their own objects, whatever their boxes have become.

    Copies of an object do not compete for it.

    Args:
        predictions: of the noised queries.
        known: (B, M) long: their objects, -1 for padding.
        targets: B dicts {"boxes": (T, 4) xyxy pixels, "labels": (T,)}.
        image_sizes: (B, 2), (height, width).
    """
    stages, *_, num_classes = predictions.logits.shape
    return Assignment(
        PerStageAssigner(),
        predictions.fixed_boxes(),
        known.expand(stages, -1, -1),
        targets,
        num_classes,
        image_sizes,
        competing=False,
    )
