"""Non-maximum suppression of detections in COCO's results format, after the model is done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torchvision.ops import batched_nms, box_convert

from ..errors import ConfigError
from .numbering import consecutive

Json = dict[str, Any]


def check_nms_threshold(threshold: float | None) -> None:
    """Raise ConfigError unless a threshold is an IoU above 0 and below 1, or None."""
    if threshold is not None and not 0.0 < threshold < 1.0:
        raise ConfigError(
            f"dataloader.evaluator.nms_threshold is {threshold}: it must be an IoU between 0 and "
            "1, such as 0.8, or null for none"
        )


def suppress(results: Sequence[Json], threshold: float) -> list[Json]:
    """Return the detections that non-maximum suppression leaves, as copies, in their order.

    Of two boxes of an image and a category that overlap with an IoU above the threshold, the one of
    lower score is dropped, unless what drops it was dropped before.

    Args:
        results: {"image_id", "category_id", "bbox": (x, y, w, h) pixels, "score"}.
        threshold: IoU.
    """
    of_image: defaultdict[Any, list[int]] = defaultdict(list)
    for index, result in enumerate(results):
        of_image[result["image_id"]].append(index)
    kept: list[int] = []
    for indices in of_image.values():
        found = [results[index] for index in indices]
        boxes = torch.tensor([each["bbox"] for each in found], dtype=torch.float64)
        corners = box_convert(boxes, "xywh", "xyxy")
        chosen = batched_nms(
            corners - corners.min(),  # classes are told apart by shifts, right above 0 only
            torch.tensor([each["score"] for each in found], dtype=torch.float64),
            torch.tensor(consecutive([each["category_id"] for each in found])),
            threshold,
        )
        kept += [indices[index] for index in chosen.tolist()]
    return [dict(results[index]) for index in sorted(kept)]
