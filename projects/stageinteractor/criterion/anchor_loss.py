"""The loss of anchors that are predicted in patches; every patch is matched like an image.

In: logits and boxes of the anchors of n patches, and the ground-truth boxes in them. Out: three
weighted losses. The target of an anchor's score is its IoU (quality focal loss); box losses have
query weighting, and all losses a weight by the size of the ground-truth box. Paper: ASAG (Fu et
al., ICCV 2023), section 3.4; ignored anchors and weights by size are from the released code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..assigner.boxes import box_iou
from ..assigner.targets import PaddedTargets, SharedTargets
from .area_weight import AreaWeight, AreaWeighted, AreaWeightedMatcher
from .class_loss import ClassLoss, DistanceWeight, Power, QueryBoxWeight, ScoreWeight, SoftTarget
from .distributed import step_average
from .matched_pairs import MatchedPairs
from .set_criterion import box_losses

QUARTERS = 4  # of an image
SIDE = 1024.0  # pixels that patches are scaled to: the eps of IoU and GIoU is in pixels
# logits (n, A); boxes (n, A, 4) and ground-truth boxes (n, T, 4), xyxy in parts of their patch
Patches = tuple[Tensor, Tensor, PaddedTargets]


class PatchLoss(nn.Module):
    """Match the anchors of every patch to its ground-truth boxes, class-agnostic; sum the losses.

    Args:
        area: weight of a ground-truth box by its size in the patch.
        ignored_iou: unmatched anchors whose IoU with any ground-truth box of the patch is at least
            this are ignored.
    """

    def __init__(self, area: AreaWeight, ignored_iou: float = 0.5) -> None:
        super().__init__()
        self.matcher = AreaWeightedMatcher(area=area)
        self.class_loss = ClassLoss(
            target=SoftTarget(Power(iou=1.0)),
            positive_weight=AreaWeighted(DistanceWeight(alpha=1.0, gamma=2.0), area),
            negative_weight=ScoreWeight(alpha=1.0, gamma=2.0),
        )
        self.box_weight = AreaWeighted(QueryBoxWeight(), area)
        self.ignored_iou = ignored_iou

    def forward(self, patches: Patches) -> Tensor:
        """Return (3,): the sums of class, L1 and GIoU losses over all patches."""
        logits, boxes, padded = patches
        logits, boxes = logits[None, ..., None], boxes[None] * SIDE  # (1, n, A, 1), (1, n, A, 4)
        padded = padded._replace(boxes=padded.boxes.to(boxes) * SIDE)
        targets = SharedTargets.of_padded(padded)
        sizes = boxes.new_full((len(targets), 2), SIDE)
        matches = self.matcher(logits.detach(), boxes.detach(), targets, sizes)
        pairs = MatchedPairs(matches.unsqueeze(-1), boxes, matches, targets, image_sizes=sizes)
        entries = self.class_loss.entries(logits, pairs)[..., 0]  # (1, n, A)
        entries = torch.where(self._ignored(pairs), 0.0, entries)
        weights = self.box_weight(logits.detach(), pairs.iou, pairs)[..., 0]  # (1, n, A)
        l1, giou = box_losses(boxes, matches, targets, sizes, weights)
        return torch.stack([entries.sum(), l1.sum(), giou.sum()])

    def _ignored(self, pairs: MatchedPairs) -> Tensor:
        """Return (1, n, A) bool: unmatched anchors that overlap a ground-truth box."""
        if not pairs.padded.boxes.shape[1]:
            return torch.zeros_like(pairs.valid[..., 0])
        iou = box_iou(pairs.boxes.unsqueeze(3), pairs.padded.boxes.unsqueeze(1))  # (1, n, A, T)
        return ~pairs.valid[..., 0] & (iou.amax(dim=-1) >= self.ignored_iou)


class AnchorLoss(nn.Module):
    """The losses of the anchors of image quarters, of whole images, and of crops.

    All are divided by the number of ground-truth boxes in the batch. A box is in several crops: all
    crops of an image count as one. The published factor, 4 over the number of crops in the batch of
    a process, is the same for 4 images per process; this one depends neither on the number
    of images nor on that of processes.

    Args:
        weight_class, weight_bbox, weight_giou: weights of the three terms.
        ignored_iou: see `PatchLoss`.
    """

    def __init__(
        self,
        weight_class: float = 8.0,
        weight_bbox: float = 4.0,
        weight_giou: float = 2.0,
        ignored_iou: float = 0.5,
    ) -> None:
        super().__init__()
        self.weights = weight_class, weight_bbox, weight_giou
        self.parts = PatchLoss(AreaWeight(small=4.0, large=1.0), ignored_iou)
        self.whole = PatchLoss(AreaWeight(small=1.0, large=4.0), ignored_iou)

    def forward(
        self, quarters: Patches, whole: Patches, crops: Patches, num_gt: int
    ) -> dict[str, Tensor]:
        """Return {"loss_anchor_class": ..., "loss_anchor_bbox": ..., "loss_anchor_giou": ...}.

        Args:
            quarters: logits, boxes and ground-truth boxes of the 4 quarters of every image.
            whole: of the whole images, unflipped and flipped.
            crops: of the crops of all finer levels.
            num_gt: ground-truth boxes of all images.
        """
        with torch.autocast(quarters[0].device.type, enabled=False):
            quarters, whole, crops = (_at_least_float32(x) for x in (quarters, whole, crops))
            counts = torch.tensor(
                [num_gt, len(quarters[0]) // QUARTERS, len(crops[0])], dtype=quarters[0].dtype
            ).to(quarters[0].device, non_blocking=True)
            boxes, images, patches = step_average(counts)
            sums = self.parts(quarters) + self.whole(whole)  # (3,)
            sums = (sums + self.parts(crops) * (images / patches)) / boxes
        weighted = (weight * x for weight, x in zip(self.weights, sums.unbind(), strict=True))
        names = ("class", "bbox", "giou")
        return {f"loss_anchor_{name}": x for name, x in zip(names, weighted, strict=True)}


def _at_least_float32(patches: Patches) -> Patches:
    """Return logits and boxes in float32, or in float64 if the boxes are."""
    logits, boxes, padded = patches
    dtype = torch.float64 if boxes.dtype == torch.float64 else torch.float32
    return logits.to(dtype), boxes.to(dtype), padded
