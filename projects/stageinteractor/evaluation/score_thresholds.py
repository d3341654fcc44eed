"""The score thresholds of best F1, over all classes and by class.

Detections are matched as by COCO at IoU 0.5: in order of their scores, each takes the free object
of its class with the highest IoU. F1 is 2 TP / (detections + objects), so one pass over the sorted
scores has the value at every threshold.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..data.coco_format import CocoSet
from ..files import atomic_write_text
from .coco_results import Json
from .error_types import by_image, class_equality, iou_matrix, lies_in_crowd, match_in_order

FILE = "score_thresholds.json"  # beside the detections
TASK = "best_f1"  # of these numbers among the metrics


class ScoreCurve(NamedTuple):
    """Precision, recall and F1 of the detections from a score on; D distinct scores."""

    scores: np.ndarray  # (D,), descending
    precision: np.ndarray  # (D,), in [0, 1], as the others
    recall: np.ndarray  # (D,)
    f1: np.ndarray  # (D,)


class BestScore(NamedTuple):
    """The threshold of highest F1, and what it gives; all in [0, 1]."""

    score: float  # halfway between the last kept detection and the next one
    f1: float
    precision: float
    recall: float


class ScoreThresholds(NamedTuple):
    """Thresholds of a data set; a class without objects or detections has none."""

    overall: BestScore
    classes: dict[str, BestScore]

    def metrics(self) -> dict[str, float]:
        """Return numbers for ``metrics.json``: F1 in per cent, scores in [0, 1]."""
        numbers = {"F1": 100 * self.overall.f1, "score": self.overall.score}
        by_class = {f"score-{name}": best.score for name, best in self.classes.items()}
        return numbers | (by_class if len(by_class) > 1 else {})


def score_curves(coco_set: CocoSet, results: Sequence[Json]) -> dict[Any, ScoreCurve]:
    """Return the curve of all detections, with the key None, and those of the classes, by id.

    Crowd regions do not count, nor do unmatched detections in one of their class.

    Args:
        coco_set: the annotated images.
        results: detections in COCO's results format.
    """
    rows: list[tuple[int, float, bool]] = []  # class index, score, whether it is correct
    class_of = coco_set.class_of_category
    objects: Counter[Any] = Counter()
    for _, detections, truth in by_image(coco_set, results, -math.inf):
        gt = [entry for entry in truth if not entry["iscrowd"]]
        overlaps = np.where(class_equality(detections, gt), iou_matrix(detections, gt), 0.0)
        correct = match_in_order(overlaps) >= 0
        counts = correct | ~lies_in_crowd(detections, truth)
        objects.update(entry["category_id"] for entry in gt)
        rows += [
            (class_of[detection["category_id"]], detection["score"], is_correct)
            for detection, is_correct, is_counted in zip(detections, correct, counts, strict=True)
            if is_counted
        ]
    classes, scores, correct = np.array(rows, dtype=float).reshape(-1, 3).T
    curves: dict[Any, ScoreCurve] = {None: _curve(scores, correct, objects.total())}
    for key, index in class_of.items():
        of_class = classes == index
        curves[key] = _curve(scores[of_class], correct[of_class], objects[key])
    return curves


def _curve(scores: np.ndarray, correct: np.ndarray, objects: int) -> ScoreCurve:
    order = np.argsort(-scores, kind="stable")
    scores, correct = scores[order], correct[order].cumsum()
    last = np.flatnonzero(np.diff(scores, append=-np.inf))  # equal scores are kept together
    kept, correct = last + 1, correct[last]
    recall = correct / objects if objects else np.full(len(last), math.nan)
    return ScoreCurve(scores[last], correct / kept, recall, 2 * correct / (kept + objects))


def best_score(curve: ScoreCurve) -> BestScore | None:
    """Return the threshold of highest F1, the highest of several; None if F1 is 0 everywhere."""
    if not curve.f1.max(initial=0.0):
        return None
    best = int(curve.f1.argmax())
    following = curve.scores[best + 1] if best + 1 < len(curve.scores) else 0.0
    values = [(curve.scores[best] + following) / 2, curve.f1[best]]
    values += [curve.precision[best], curve.recall[best]]
    return BestScore(*map(float, values))


def fit_thresholds(
    curves: Mapping[Any, ScoreCurve], names: Mapping[Any, str]
) -> ScoreThresholds | None:
    """Return the thresholds of the curves; None without a correct detection.

    Args:
        curves: of `score_curves`.
        names: of the classes, by category id.
    """
    best = {key: best_score(curve) for key, curve in curves.items()}
    overall = best.pop(None)
    if overall is None:
        return None
    return ScoreThresholds(overall, {names[k]: each for k, each in best.items() if each})


def save_thresholds(folder: str | Path, thresholds: ScoreThresholds | None) -> None:
    """Write ``score_thresholds.json`` beside the detections; without thresholds, remove it."""
    path = Path(folder) / FILE
    if thresholds is None:
        path.unlink(missing_ok=True)
        return
    classes = {name: best._asdict() for name, best in thresholds.classes.items()}
    content = {"iou": 0.5, "overall": thresholds.overall._asdict(), "classes": classes}
    atomic_write_text(path, json.dumps(content, ensure_ascii=False))
