"""Results of the anchor generator: anchors of a batch, and in training the input of its loss."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...assigner.targets import PaddedTargets
from .anchor_boxes import Anchors
from .patches import Patches


class PatchPredictions(NamedTuple):
    """Predictions in n patches, and their targets."""

    logits: Tensor  # (n, A)
    boxes: Tensor  # (n, A, 4), xyxy in parts of the patch
    gt: PaddedTargets  # of the n patches, xyxy in parts of the patch


class AnchorPredictions(NamedTuple):
    """Input of `AnchorLoss`."""

    quarters: PatchPredictions
    whole: PatchPredictions
    crops: PatchPredictions
    num_gt: int


class GeneratedAnchors(NamedTuple):
    """Anchors of a batch."""

    anchors: Anchors
    crops: tuple[Patches, ...]  # of every finer level, those whose anchors are used
    predictions: AnchorPredictions | None  # in training

    def num_crops(self, num_images: int) -> Tensor:
        """Return (B, 2) long: how many crops of P4 and of P3 were predicted from."""
        counts = self.anchors.images.new_zeros(num_images, 2)
        for level, crops in enumerate(self.crops):
            counts[:, level] = torch.bincount(crops.images, minlength=num_images)
        return counts


class PatchAnchors(NamedTuple):
    """Anchors of n patches, and where the patches lie."""

    logits: Tensor  # (n, A)
    boxes: Tensor  # (n, A, 4), cxcywh in parts of the patch
    patches: Patches

    def where(self, mask: Tensor) -> PatchAnchors:
        """Return the patches that a mask (n,) picks."""
        patches = Patches(*(field[mask] for field in self.patches))
        return PatchAnchors(self.logits[mask], self.boxes[mask], patches)
