"""Check that the predictions of a third-party model (the host) are finite before they are matched.

The matchers of transformers replace NaN costs by the largest number: a query whose prediction is
NaN is never matched, and no loss shows it. Other matchers leave the check to their solver.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .host_outputs import Outputs, logits_of


def broken_images(stages: Sequence[Outputs]) -> Tensor:
    """Return (S, B) bool, on the device: whether logits are NaN, or boxes NaN or infinite.

    An infinite logit is a probability of 0 or 1 and has finite costs.
    """
    return torch.stack(
        [
            logits_of(stage).detach().isnan().flatten(1).any(dim=1)
            | ~stage["pred_boxes"].detach().isfinite().flatten(1).all(dim=1)
            for stage in stages
        ]
    )


def raise_if_broken(broken: Tensor, targets: Sequence[Any]) -> None:
    """Raise FloatingPointError for the first stage and image that cannot be matched.

    Args:
        broken: (S, B) bool, on the CPU, of `broken_images`.
        targets: B dicts of the host; images without ground-truth boxes are skipped.
    """
    for stage, image in broken.nonzero().tolist():
        if len(targets[image]["boxes"]):
            raise FloatingPointError(
                f"matching costs of stage {stage}, image {image} of the batch are not finite: "
                "the logits or boxes of this stage have become NaN or infinite"
            )
