"""How many detections too many an object gets, near the top of an image's list."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.coco_format import CocoSet
from .error_types import by_image, class_equality, iou_matrix

Json = dict[str, Any]


def duplicates_per_object(
    coco_set: CocoSet, results: Sequence[Json], iou: float = 0.7, top: int = 100
) -> float:
    """Return the mean number of detections of an object beyond the first.

    A detection is of the object of its class that it overlaps most, if with this IoU or more. Crowd
    regions are no objects. NaN without any object.

    Args:
        coco_set: the annotated images.
        results: detections in COCO's results format.
        iou: the least overlap.
        top: so many detections of an image count, those of the highest scores.
    """
    duplicates, total = 0, 0
    for _, detections, truth in by_image(coco_set, results, -math.inf):
        objects = [entry for entry in truth if not entry["iscrowd"]]
        total += len(objects)
        best = detections[:top]
        if not best or not objects:
            continue
        overlaps = np.where(class_equality(best, objects), iou_matrix(best, objects), 0.0)
        of_object = overlaps.argmax(axis=1)[overlaps.max(axis=1) >= iou]
        duplicates += len(of_object) - len(np.unique(of_object))
    return duplicates / total if total else math.nan
