"""A matcher with the position-modulated cost for third-party criteria.

In: outputs and targets of criteria of the DETR family. Out: pairs of query and ground-truth box in
their form. The costs are detrex's, with the class cost of
`stageinteractor.assigner.position_modulated`, computed per pair: the matching of an image does not
depend on the rest of its batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..assigner.boxes import (
    Extent,
    box_area,
    cxcywh_to_xyxy,
    edges,
    hull_extent,
    shared_extent,
)
from ..assigner.matching import WeightedCost, solve
from ..assigner.position_modulated import check_exponent, largest_giou, modulated
from ..assigner.targets import PaddedTargets, Target, pad_targets
from .host_outputs import Outputs, labels_of, logits_of
from .host_pairs import Pairs, groups_as_images, pairs_of_groups

AREA_EPS = 1e-6  # detrex's, added to areas of normalised boxes
_SHOWN = ("cost_class", "cost_bbox", "cost_giou", "alpha", "gamma", "exponent", "rescale")


class PositionModulatedHostMatcher(nn.Module, WeightedCost):
    """Match as detrex's ``HungarianMatcher`` does, with the position-modulated class cost.

    Serves detrex's criteria and those of transformers; with an exponent of 0 the costs are detrex's
    to the bit. Paper: Stable-DINO, ICCV 2023, equation 4.

    Args:
        cost_class, cost_bbox, cost_giou: weights of the class cost, of the L1 distance of
            normalised cxcywh boxes and of the negative GIoU.
        cost_class_type: "focal_loss_cost"; there is no such cost for a softmax.
        alpha, gamma: balance and focusing parameter of the class cost.
        exponent: of s' = (GIoU + 1) / 2; 0 is the plain cost.
        rescale: scale s' so that the best pair of every image has 1, as the released code does and
            the paper does not.
    """

    log_eps = 1e-8  # detrex's

    def __init__(
        self,
        cost_class: float = 1.0,
        cost_bbox: float = 1.0,
        cost_giou: float = 1.0,
        cost_class_type: str = "focal_loss_cost",
        alpha: float = 0.25,
        gamma: float = 2.0,
        exponent: float = 0.5,
        rescale: bool = False,
    ) -> None:
        nn.Module.__init__(self)
        WeightedCost.__init__(self, cost_class, cost_bbox, cost_giou, alpha, gamma)
        if cost_class_type != "focal_loss_cost":
            raise ValueError(
                "the position-modulated cost needs cost_class_type='focal_loss_cost', got "
                f"{cost_class_type!r}"
            )
        check_exponent(exponent)
        self.exponent = exponent
        self.rescale = rescale

    @torch.no_grad()
    def forward(self, outputs: Outputs, targets: Sequence[Target], group_detr: int = 1) -> Pairs:
        """Match every image, with one copy to the host for the batch.

        Args:
            outputs: "pred_logits" or "logits" (B, N, C) before the sigmoid, and "pred_boxes"
                (B, N, 4), cxcywh normalised.
            targets: B dicts {"labels" or "class_labels": (T,), "boxes": (T, 4) cxcywh normalised}.
            group_detr: number of consecutive groups of queries, each of which is matched by itself
                (the name is that of LW-DETR and RF-DETR in transformers).

        Returns:
            Per image, the matched queries, ascending, and their ground-truth boxes: int64 on the
            CPU, min(N / groups, T) of every group.

        Raises:
            FloatingPointError: a cost is NaN or infinite.
        """
        logits, boxes = logits_of(outputs).detach(), outputs["pred_boxes"].detach()
        with torch.autocast(boxes.device.type, enabled=False):
            dtype = torch.float64 if boxes.dtype == torch.float64 else torch.float32
            logits = groups_as_images(logits.to(dtype), group_detr)
            boxes = groups_as_images(boxes.to(dtype), group_detr)
            targets = [{"boxes": t["boxes"], "labels": labels_of(t)} for t in targets] * group_detr
            padded = pad_targets(targets, like=boxes)
            costs = self.costs(logits, boxes, padded)
        matches = solve(costs.unsqueeze(0).cpu().numpy(), padded.counts)[0]
        return pairs_of_groups(matches, group_detr)

    def costs(self, logits: Tensor, boxes: Tensor, padded: PaddedTargets) -> Tensor:
        """Return the cost (B, N, T) of every pair of query and (padded) ground-truth box.

        Args:
            logits: (B, N, C).
            boxes: (B, N, 4), cxcywh normalised; so are the ground-truth boxes.
            padded: the ground truth of all images.
        """
        giou = host_giou(
            cxcywh_to_xyxy(boxes).unsqueeze(2), cxcywh_to_xyxy(padded.boxes).unsqueeze(1)
        )
        # sigmoid before gather, as in detrex: in the other order a bit may differ
        index = padded.labels.unsqueeze(1).expand_as(giou)  # (B, N, T)
        scores = logits.sigmoid().gather(2, index)
        largest = largest_giou(giou, padded.mask) if self.rescale else None
        scores = modulated(scores, giou, self.exponent, largest)
        return self.weighted_cost(scores, torch.cdist(boxes, padded.boxes, p=1), giou)

    def __repr__(self, _repr_indent: int = 4) -> str:
        """Return a description; detrex's criteria pass the indent of its lines."""
        return described(self, _SHOWN, _repr_indent)


def described(matcher: nn.Module, names: Sequence[str], indent: int) -> str:
    """Return a description of a matcher with its attributes, in the form of detrex's matchers."""
    lines = [f"{' ' * indent}{name}: {getattr(matcher, name)}" for name in names]
    return "\n".join([f"Matcher {type(matcher).__name__}", *lines])


def host_giou(first: Tensor, second: Tensor) -> Tensor:
    """Return the generalised IoU of xyxy boxes whose shapes broadcast, with the eps of detrex."""
    a, b = edges(first), edges(second)
    shared, hull = _area(shared_extent(a, b)), _area(hull_extent(a, b))
    union = box_area(first) + box_area(second) - shared
    return shared / (union + AREA_EPS) - (hull - union) / (hull + AREA_EPS)


def _area(extent: Extent) -> Tensor:
    return extent[0].clamp(min=0) * extent[1].clamp(min=0)
