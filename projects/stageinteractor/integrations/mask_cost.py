"""The position-modulated cost for matchers of third-party models that also have mask costs.

The host's matcher runs unchanged. Its class cost reads the score of a ground-truth box's class;
here every ground-truth box of an image gets a class of its own, whose score for a query is the
modulated p' = p * s'^exponent of that pair. Paper: Stable-DINO, ICCV 2023, equation 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..assigner.boxes import cxcywh_to_xyxy
from ..assigner.position_modulated import check_exponent, largest_giou, modulated
from ..errors import UnsupportedHostError
from .host_matcher import described, host_giou
from .host_outputs import LABELS, LOGITS, Outputs, labels_of, logits_of
from .host_pairs import Pairs


class PositionModulatedMaskMatcher(nn.Module):
    """Match with a host's matcher, such as MaskDINO's, and the position-modulated class cost.

    The matcher is called image by image, and draws its random points in the same order. With an
    exponent of 0 it is called as it is.

    Args:
        matcher: (outputs, targets, ...) -> pairs; its class cost is that of a sigmoid, for one
            class of a ground-truth box at a time.
        exponent: of s' = (GIoU + 1) / 2; 0 is the plain cost.
        rescale: scale s' so that the best pair of every image has 1.

    Raises:
        UnsupportedHostError: the matcher reads the number of a class (``panoptic_on``).
    """

    def __init__(self, matcher: nn.Module, exponent: float = 0.5, rescale: bool = False) -> None:
        super().__init__()
        check_exponent(exponent)
        if getattr(matcher, "panoptic_on", False):
            raise UnsupportedHostError(
                f"{type(matcher).__name__} has panoptic_on=True: its costs depend on the number of "
                "a class, so its class cost cannot be modulated"
            )
        self.matcher = matcher
        self.exponent = exponent
        self.rescale = rescale

    @torch.no_grad()
    def forward(
        self, outputs: Outputs, targets: Sequence[dict[str, Tensor]], *args: Any, **kwargs: Any
    ) -> Pairs:
        """Match every image; further arguments are the host's.

        Args:
            outputs: "pred_logits" or "logits" (B, N, C) before the sigmoid, "pred_boxes"
                (B, N, 4), cxcywh normalised, and what else the matcher reads, (B, N, ...).
            targets: B dicts {"labels" or "class_labels": (T,), "boxes": (T, 4) cxcywh normalised}
                and what else the matcher reads.
        """
        if not self.exponent:
            return self.matcher(outputs, targets, *args, **kwargs)
        pairs: Pairs = []
        for image, target in enumerate(targets):
            one = {k: v[image : image + 1] for k, v in outputs.items() if isinstance(v, Tensor)}
            pairs += self.matcher(*self._with_own_classes(one, target), *args, **kwargs)
        return pairs

    def _with_own_classes(
        self, outputs: dict[str, Tensor], target: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
        """Return outputs and target of an image with logits (1, N, T) and classes 0 ... T - 1."""
        labels = labels_of(target)
        logits = logits_of(outputs)[..., labels].float()  # (1, N, T)
        logits = self._modulated(logits, outputs["pred_boxes"], target["boxes"])
        own = torch.arange(len(labels), device=labels.device)
        return (
            outputs | {key: logits for key in LOGITS if key in outputs},
            [{**target, **{key: own for key in LABELS if key in target}}],
        )

    def _modulated(self, logits: Tensor, boxes: Tensor, gt_boxes: Tensor) -> Tensor:
        """Return the logits of p', in float64: where p is near 1, float32 has too few digits."""
        first, second = (cxcywh_to_xyxy(each.double()) for each in (boxes, gt_boxes))
        giou = host_giou(first.unsqueeze(2), second.unsqueeze(0).unsqueeze(1))  # (1, N, T)
        everything = torch.ones(1, giou.shape[-1], dtype=torch.bool, device=giou.device)
        largest = largest_giou(giou, everything) if self.rescale else None
        scores = modulated(logits.double().sigmoid(), giou, self.exponent, largest)
        return scores.logit().to(logits.dtype)

    def __repr__(self, _repr_indent: int = 4) -> str:
        """Return a description; detrex's criteria pass the indent of its lines."""
        return described(self, ("matcher", "exponent", "rescale"), _repr_indent)
