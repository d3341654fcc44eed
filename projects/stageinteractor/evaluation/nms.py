"""NMS of detections in COCO's results format, for `CocoEvaluator`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torchvision.ops import box_convert

from ..errors import ConfigError
from ..nms import grouped_nms
from .coco_results import Json
from .numbering import consecutive


def check_nms_threshold(threshold: float | None) -> None:
    """Raise ConfigError unless a threshold is None, or an IoU above 0 and below 1."""
    if threshold is not None and not 0.0 < threshold < 1.0:
        raise ConfigError(
            f"dataloader.evaluator.nms_threshold is {threshold}: it must be an IoU between 0 and "
            "1, such as 0.8, or null for no NMS"
        )


def apply_nms(results: Sequence[Json], threshold: float) -> list[Json]:
    """Return copies of the detections that NMS within each image and category keeps, in order.

    Args:
        results: {"image_id", "category_id", "bbox": (x, y, w, h) pixels, "score"}.
    """
    of_image: defaultdict[Any, list[int]] = defaultdict(list)
    for index, result in enumerate(results):
        of_image[result["image_id"]].append(index)
    kept: list[int] = []
    for indices in of_image.values():
        detections = [results[index] for index in indices]
        boxes = torch.tensor([each["bbox"] for each in detections], dtype=torch.float64)
        chosen = grouped_nms(
            box_convert(boxes, "xywh", "xyxy"),
            torch.tensor([each["score"] for each in detections], dtype=torch.float64),
            torch.tensor(consecutive([each["category_id"] for each in detections])),
            threshold,
        )
        kept += [indices[index] for index in chosen.tolist()]
    return [dict(results[index]) for index in sorted(kept)]
