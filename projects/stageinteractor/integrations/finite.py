"""See that a host's predictions are numbers, for its matcher may not.

Those of transformers put the largest number in the place of costs that are NaN, so that a query
which has become NaN is never matched, and no loss of it tells. Others leave it to their solver.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .host_outputs import Outputs, logits_of


def broken_images(stages: Sequence[Outputs]) -> Tensor:
    """Return (S, B) bool, on the device: whether logits are NaN, or boxes NaN or infinite.

    A logit that is infinite has a chance of 0 or 1, and costs that are finite.
    """
    return torch.stack(
        [
            logits_of(stage).detach().isnan().flatten(1).any(dim=1)
            | ~stage["pred_boxes"].detach().isfinite().flatten(1).all(dim=1)
            for stage in stages
        ]
    )


def raise_if_broken(broken: Tensor, targets: Sequence[Any]) -> None:
    """Raise FloatingPointError for the first stage and image (S, B) that could not be matched.

    Args:
        broken: on the host, as `broken_images` returns it.
        targets: B dicts of the host; an image without objects has nothing to be matched.
    """
    for stage, image in broken.nonzero().tolist():
        if len(targets[image]["boxes"]):
            raise FloatingPointError(
                f"matching costs of stage {stage}, image {image} of the batch are not finite: "
                "the logits or boxes of this stage have become NaN or infinite"
            )
