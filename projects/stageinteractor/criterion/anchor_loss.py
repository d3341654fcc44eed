"""The loss of anchors that are predicted in patches; every patch is matched as if it were an image.

In: logits and boxes of the anchors of n patches, and the objects that the patches show. Out: three
weighted losses. The score of an anchor learns its IoU (quality focal loss); boxes are weighted by
query weighting, and both by the size of the object. Paper: ASAG (Fu et al., ICCV 2023), section
3.4; what is ignored, and the weights by size, are the released code's.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..assigner.boxes import box_iou
from ..assigner.targets import PaddedTargets, SharedTargets
from .area_weight import AreaWeight, AreaWeighted, AreaWeightedMatcher
from .class_loss import ClassLoss, DistanceWeight, Power, QueryBoxWeight, ScoreWeight, SoftTarget
from .matched_pairs import MatchedPairs
from .set_criterion import box_losses

QUARTERS = 4  # of an image
SIDE = 1024.0  # patches are scaled to crops of so many pixels: overlaps have floors in pixels
# logits (n, A); boxes (n, A, 4) and objects (n, T, 4), xyxy in parts of their patch
Patches = tuple[Tensor, Tensor, PaddedTargets]


class PatchLoss(nn.Module):
    """Match the anchors of every patch to its objects, without classes, and sum up their losses.

    Args:
        area: weight of an object by its size in the patch.
        ignored_iou: anchors without a match are no negatives if they overlap any object of the
            patch as much.
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
        logits, boxes, objects = patches
        logits, boxes = logits[None, ..., None], boxes[None] * SIDE  # (1, n, A, 1), (1, n, A, 4)
        padded = objects._replace(boxes=objects.boxes.to(boxes) * SIDE)
        targets = SharedTargets.of_padded(padded)
        sizes = boxes.new_full((len(targets), 2), SIDE)
        matches = self.matcher(logits.detach(), boxes.detach(), targets, sizes)
        positives = MatchedPairs(matches.unsqueeze(-1), boxes, matches, targets, image_sizes=sizes)
        entries = self.class_loss(logits, positives)[..., 0]
        entries = torch.where(self._ignored(positives), 0.0, entries)
        weights = self.box_weight(logits.detach(), positives.iou, positives)[..., 0]
        l1, giou = box_losses(boxes, matches, targets, sizes, weights)
        return torch.stack([entries.sum(), l1.sum(), giou.sum()])

    def _ignored(self, positives: MatchedPairs) -> Tensor:
        """Return (1, n, A) bool: anchors on objects that other anchors are matched to."""
        if not positives.padded.boxes.shape[1]:
            return torch.zeros_like(positives.valid[..., 0])
        iou = box_iou(positives.boxes.unsqueeze(3), positives.padded.boxes.unsqueeze(1))
        return ~positives.valid[..., 0] & (iou.amax(dim=-1) >= self.ignored_iou)


class AnchorLoss(nn.Module):
    """The losses of anchors of quarters, of whole images, and of crops cut out of them.

    All are divided by the number of objects in the batch. Crops show an object more often: all
    those of an image count as one. The published factor, 4 over the number of crops in the batch
    of a process, is the same for 4 images a process; this one depends neither on their number nor
    on that of the processes.

    Args:
        weight_class, weight_bbox, weight_giou: weights of the three terms.
        ignored_iou: as of `PatchLoss`.
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
        self, quarters: Patches, whole: Patches, crops: Patches, num_objects: int
    ) -> dict[str, Tensor]:
        """Return {"loss_anchor_class": ..., "loss_anchor_bbox": ..., "loss_anchor_giou": ...}.

        Args:
            quarters: logits, boxes and objects of the 4 quarters of every image.
            whole: those of the whole images, as they are and flipped.
            crops: those of the crops of all finer levels.
            num_objects: of all images.
        """
        with torch.autocast(quarters[0].device.type, enabled=False):
            quarters, whole, crops = (_single(each) for each in (quarters, whole, crops))
            counts = num_objects, len(quarters[0]) // QUARTERS, len(crops[0])
            objects, images, patches = _averages(quarters[0], *counts)
            fixed = self.parts(quarters) + self.whole(whole)
            sums = (fixed + self.parts(crops) * (images / patches)) / objects
        weighted = (weight * x for weight, x in zip(self.weights, sums.unbind(), strict=True))
        names = ("class", "bbox", "giou")
        return {f"loss_anchor_{name}": x for name, x in zip(names, weighted, strict=True)}


def _single(patches: Patches) -> Patches:
    """Return logits and boxes in float32, or in float64 if the boxes are."""
    logits, boxes, objects = patches
    dtype = torch.float64 if boxes.dtype == torch.float64 else torch.float32
    return logits.to(dtype), boxes.to(dtype), objects


def _averages(like: Tensor, *counts: int) -> Tensor:
    """Return the mean of counts over the ranks, each at least 1 in all."""
    total, ranks = torch.tensor(counts, dtype=like.dtype), 1
    total = total.to(like.device, non_blocking=True)
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(total)
        ranks = dist.get_world_size()
    return total.clamp(min=1.0) / ranks
