"""The number of duplicate detections per object among the best of each image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..data.coco_format import CocoSet
from .coco_results import Json
from .error_types import by_image, class_equality, iou_matrix


def duplicates_per_object(
    coco_set: CocoSet, results: Sequence[Json], iou: float = 0.7, top: int = 100
) -> float:
    """Return the mean number of detections of an object beyond the first; NaN without objects.

    A detection belongs to the object of its class with the highest IoU, if that is at least
    ``iou``. Crowd regions do not count.

    Args:
        results: detections in COCO's results format.
        top: number of detections of an image that count, those of the highest scores.
    """
    duplicates, total = 0, 0
    for _, detections, truth in by_image(coco_set, results, -math.inf):
        gt = [entry for entry in truth if not entry["iscrowd"]]
        total += len(gt)
        best = detections[:top]
        if not best or not gt:
            continue
        overlaps = np.where(class_equality(best, gt), iou_matrix(best, gt), 0.0)
        of_object = overlaps.argmax(axis=1)[overlaps.max(axis=1) >= iou]
        duplicates += len(of_object) - len(np.unique(of_object))
    return duplicates / total if total else math.nan
