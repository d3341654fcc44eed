"""The confusion matrix of detections, with a row and a column for background."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..data.coco_format import CocoSet
from .coco_results import Json
from .error_types import by_image, iou_matrix, lies_in_crowd, match_in_order


def confusion_matrix(
    coco_set: CocoSet, results: Sequence[Json], min_score: float = 0.3
) -> np.ndarray:
    """Count ground-truth boxes by their true and their detected class.

    In order of their scores, detections of any class are matched to the free box of highest IoU, at
    least 0.5. Every box counts once, with the class of its detection of highest score.

    Args:
        coco_set: the annotated images. Crowd regions do not count, nor do unmatched detections in
            a crowd region of their class.
        results: detections in COCO's results format.

    Returns:
        (C + 1, C + 1) counts: rows are true classes, columns detected ones; the last column
        counts missed boxes, the last row unmatched detections.
    """
    class_of = coco_set.class_of_category
    background = len(class_of)
    matrix = np.zeros((background + 1, background + 1), dtype=np.int64)
    for _, detections, truth in by_image(coco_set, results, min_score):
        gt = [entry for entry in truth if not entry["iscrowd"]]
        matches = match_in_order(iou_matrix(detections, gt))
        in_crowd = lies_in_crowd(detections, truth)
        for index, detection in enumerate(detections):
            detected = class_of[detection["category_id"]]
            if matches[index] >= 0:
                matrix[class_of[gt[matches[index]]["category_id"]], detected] += 1
            elif not in_crowd[index]:
                matrix[background, detected] += 1
        for index in set(range(len(gt))) - set(matches.tolist()):
            matrix[class_of[gt[index]["category_id"]], background] += 1
    return matrix


def most_confused(
    matrix: np.ndarray, class_names: Sequence[str], count: int = 5
) -> list[tuple[str, str, int]]:
    """Return the pairs (true class, detected class, number), most frequent first.

    Args:
        matrix: (C + 1, C + 1) of `confusion_matrix`; background is ignored.
    """
    wrong = matrix[:-1, :-1] * (1 - np.eye(len(matrix) - 1, dtype=matrix.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return [(class_names[i], class_names[j], int(wrong[i, j])) for i, j in pairs if wrong[i, j]]
