"""Duplicate detections and missed objects among the best detections of each image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from ..data.coco_format import CocoSet
from .coco_results import Json
from .error_types import by_image, class_equality, iou_matrix


def duplicates_per_object(
    coco_set: CocoSet, results: Sequence[Json], iou: float = 0.7, top: int | None = 100
) -> float:
    """Return the mean number of detections of an object beyond the first; NaN without objects.

    A detection belongs to the object of its class with the highest IoU, if that is at least
    ``iou``. Crowd regions do not count.

    Args:
        coco_set: the annotated images.
        results: detections in COCO's results format.
        iou: minimum overlap.
        top: number of detections of an image that count, those of the highest scores; None: as many
            as the image has objects.
    """
    duplicates, total = 0, 0
    for overlaps in _overlaps(coco_set, results, top):  # (detections, objects)
        total += overlaps.shape[1]
        if overlaps.size:
            of_object = overlaps.argmax(axis=1)[overlaps.max(axis=1) >= iou]
            duplicates += len(of_object) - len(np.unique(of_object))
    return duplicates / total if total else math.nan


def missed_objects(
    coco_set: CocoSet, results: Sequence[Json], iou: float = 0.5, top: int = 100
) -> float:
    """Return the objects, per cent, without a detection of their class; NaN without objects.

    The score of a detection does not matter. Arguments are those of `duplicates_per_object`.
    """
    missed, total = 0, 0
    for overlaps in _overlaps(coco_set, results, top):  # (detections, objects)
        total += overlaps.shape[1]
        missed += int((overlaps.max(axis=0, initial=0.0) < iou).sum())
    return 100.0 * missed / total if total else math.nan


def _overlaps(coco_set: CocoSet, results: Sequence[Json], top: int | None) -> Iterator[np.ndarray]:
    """Yield the IoU (D, T) of every image's best detections and objects, 0 across classes."""
    for _, detections, truth in by_image(coco_set, results, -math.inf):
        gt = [entry for entry in truth if not entry["iscrowd"]]
        best = detections[: len(gt) if top is None else top]
        yield np.where(class_equality(best, gt), iou_matrix(best, gt), 0.0)
