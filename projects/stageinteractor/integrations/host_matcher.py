"""The position-modulated cost in the place of a host's matcher.

In: outputs and targets as hosts of the DETR family have them. Out: the pairs of query and object
that those hosts want. The costs are detrex's, with the class cost of
`stageinteractor.assigner.position_modulated`: of every pair by itself, so an image is matched the
same whatever else is in its batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
from ..assigner.matching import solve
from ..assigner.position_modulated import check_exponent, largest_giou, modulated
from ..assigner.targets import PaddedTargets, pad_targets
from .host_outputs import Outputs, labels_of, logits_of
from .host_pairs import Pairs

CLASS_EPS = 1e-8  # detrex's, inside the logarithms of the class cost
AREA_EPS = 1e-6  # detrex's, on the areas of normalised boxes that it divides by
_SHOWN = ("cost_class", "cost_bbox", "cost_giou", "alpha", "gamma", "exponent", "rescale")


class PositionModulatedHostMatcher(nn.Module):
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
        super().__init__()
        if cost_class_type != "focal_loss_cost":
            raise ValueError(
                "the position-modulated cost needs cost_class_type='focal_loss_cost', got "
                f"{cost_class_type!r}"
            )
        if cost_class == cost_bbox == cost_giou == 0:
            raise ValueError("the cost weights must not all be zero")
        check_exponent(exponent)
        self.cost_class = cost_class
        self.cost_bbox = cost_bbox
        self.cost_giou = cost_giou
        self.alpha = alpha
        self.gamma = gamma
        self.exponent = exponent
        self.rescale = rescale

    @torch.no_grad()
    def forward(self, outputs: Outputs, targets: Sequence[Mapping[str, Tensor]]) -> Pairs:
        """Match every image by itself, with one copy to the host for the batch.

        Args:
            outputs: "pred_logits" or "logits" (B, N, C) before the sigmoid, and "pred_boxes"
                (B, N, 4), cxcywh normalised.
            targets: B dicts {"labels" or "class_labels": (T,), "boxes": (T, 4) cxcywh normalised}.

        Returns:
            Of every image queries, ascending, and their objects: int64 on the host, min(N, T) each.

        Raises:
            FloatingPointError: a cost is NaN or infinite.
        """
        logits, boxes = logits_of(outputs).detach(), outputs["pred_boxes"].detach()
        with torch.autocast(boxes.device.type, enabled=False):
            dtype = torch.float64 if boxes.dtype == torch.float64 else torch.float32
            logits, boxes = logits.to(dtype), boxes.to(dtype)
            objects = [{"boxes": t["boxes"], "labels": labels_of(t)} for t in targets]
            padded = pad_targets(objects, like=boxes)
            costs = self.costs(logits, boxes, padded)
        matches = solve(costs.unsqueeze(0).cpu().numpy(), padded.counts)[0]  # (B, N)
        pairs = [(match >= 0).nonzero().squeeze(1) for match in matches]
        return [(query, match[query]) for query, match in zip(pairs, matches, strict=True)]

    def costs(self, logits: Tensor, boxes: Tensor, padded: PaddedTargets) -> Tensor:
        """Return the cost (B, N, T) of every pair of query and (padded) object.

        Args:
            logits: (B, N, C).
            boxes: (B, N, 4), cxcywh normalised; so are those of the objects.
            padded: the objects of all images.
        """
        giou = _giou(cxcywh_to_xyxy(boxes).unsqueeze(2), cxcywh_to_xyxy(padded.boxes).unsqueeze(1))
        # the sigmoid of all logits, as detrex has it: that of a selection may differ in a bit
        index = padded.labels.unsqueeze(1).expand_as(giou)
        scores = logits.sigmoid().gather(2, index)
        largest = largest_giou(giou.unsqueeze(0), padded.counts)[0] if self.rescale else None
        class_cost = self._class_cost(modulated(scores, giou, self.exponent, largest))
        distance = torch.cdist(boxes, padded.boxes, p=1)
        return self.cost_bbox * distance + self.cost_class * class_cost + self.cost_giou * -giou

    def _class_cost(self, right: Tensor) -> Tensor:
        wrong = 1 - right
        positive = self.alpha * wrong**self.gamma * -(right + CLASS_EPS).log()
        negative = (1 - self.alpha) * right**self.gamma * -(wrong + CLASS_EPS).log()
        return positive - negative

    def __repr__(self, _repr_indent: int = 4) -> str:
        """Return a description; detrex's criteria give the indent of its lines."""
        lines = [f"{' ' * _repr_indent}{name}: {getattr(self, name)}" for name in _SHOWN]
        return "\n".join([f"Matcher {type(self).__name__}", *lines])


def _giou(first: Tensor, second: Tensor) -> Tensor:
    """Return the generalised IoU of xyxy boxes whose shapes broadcast, with floors as detrex's."""
    a, b = edges(first), edges(second)
    shared, hull = _area(shared_extent(a, b)), _area(hull_extent(a, b))
    union = box_area(first) + box_area(second) - shared
    return shared / (union + AREA_EPS) - (hull - union) / (hull + AREA_EPS)


def _area(extent: Extent) -> Tensor:
    return extent[0].clamp(min=0) * extent[1].clamp(min=0)
