"""The error type of every detection and every missed ground-truth box.

In: an annotated set and detections in COCO's results format. Out: a list of `Outcome` an image.
Types and thresholds are those of TIDE (Bolya et al., ECCV 2020). A detection has the first type of
`ERROR_TYPES` that applies. One order differs: TIDE asks for Loc before Cls, which in crowded images
calls a correctly placed box of the wrong class a badly placed box of its neighbour.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask

from ..data.coco_format import CocoSet
from .coco_results import Json, group_by_image
from .numbering import consecutive

FOREGROUND_IOU, BACKGROUND_IOU = 0.5, 0.1  # TIDE's t_f and t_b
ERROR_TYPES = {
    "correct": "IoU >= 0.5 with an object of its class that no detection of higher score matched",
    "Dupe": "IoU >= 0.5 with an object of its class that another detection matched",
    "Cls": "IoU >= 0.5 with an object, but of another class",
    "Loc": "IoU from 0.1 to 0.5 with an object of its class",
    "Both": "IoU from 0.1 to 0.5 with an object of another class",
    "Bkg": "IoU below 0.1 with every object",
    "Miss": "object without a correct, Cls or Loc detection",
}


class Outcome(NamedTuple):
    """A detection or a missed ground-truth box, and its type."""

    type: str  # a key of ERROR_TYPES
    detection: Json | None  # None: a missed box
    annotation: Json | None  # the ground-truth box concerned, the one of highest IoU; None: Bkg
    iou: float  # of both; 0 if one is None

    @property
    def category_id(self) -> int:
        """Category that the outcome counts for: the detected one, or that of a missed box."""
        entry = self.detection or self.annotation
        assert entry is not None
        return entry["category_id"]


def classify_detections(
    coco_set: CocoSet, results: Sequence[Json], min_score: float = 0.3
) -> dict[Any, list[Outcome]]:
    """Return the outcomes of every image, by image id, detections first, in order of their scores.

    Detections are matched as by COCO at IoU 0.5: in order of their scores, each takes the free
    object of its class with the highest IoU. An unmatched detection in a crowd region of its class
    has no outcome.

    Args:
        results: detections in COCO's results format.
    """
    return {
        image["id"]: _outcomes(detections, annotations)
        for image, detections, annotations in by_image(coco_set, results, min_score)
    }


def by_image(
    coco_set: CocoSet, results: Sequence[Json], min_score: float
) -> Iterable[tuple[Json, list[Json], list[Json]]]:
    """Yield every image with its detections, the best score first, and its annotations."""
    detected = group_by_image(each for each in results if each["score"] >= min_score)
    truth = group_by_image(coco_set.annotations)
    for image in coco_set.images:
        detections = sorted(detected[image["id"]], key=lambda result: -result["score"])
        yield image, detections, truth[image["id"]]


def _outcomes(detections: list[Json], annotations: list[Json]) -> list[Outcome]:
    gt = [entry for entry in annotations if not entry["iscrowd"]]
    overlaps = iou_matrix(detections, gt)
    same_class = class_equality(detections, gt)
    matches = match_in_order(np.where(same_class, overlaps, 0.0))
    in_crowd = lies_in_crowd(detections, annotations)
    outcomes = []
    for index, detection in enumerate(detections):
        error_type, match = "correct", int(matches[index])
        if match < 0:
            if in_crowd[index]:
                continue
            error_type, match = _error_type(overlaps[index], same_class[index])
        if match < 0:
            outcomes.append(Outcome(error_type, detection, None, 0.0))
        else:
            overlap = float(overlaps[index, match])
            outcomes.append(Outcome(error_type, detection, gt[match], overlap))
    explained = {id(each.annotation) for each in outcomes if each.type in ("correct", "Cls", "Loc")}
    missed = [entry for entry in gt if id(entry) not in explained]
    return outcomes + [Outcome("Miss", None, entry, 0.0) for entry in missed]


def _error_type(overlaps: np.ndarray, same_class: np.ndarray) -> tuple[str, int]:
    """Return the type of an unmatched detection, and the index of the box concerned or -1."""
    candidates = (
        ("Dupe", same_class, FOREGROUND_IOU),
        ("Cls", ~same_class, FOREGROUND_IOU),
        ("Loc", same_class, BACKGROUND_IOU),
        ("Both", ~same_class, BACKGROUND_IOU),
    )
    for error_type, allowed, threshold in candidates:
        overlap = np.where(allowed, overlaps, 0.0)
        if overlap.max(initial=0.0) >= threshold:
            return error_type, int(overlap.argmax())
    return "Bkg", -1


def iou_matrix(detections: Sequence[Json], gt: Sequence[Json]) -> np.ndarray:
    """Return the IoU (D, T) of all pairs, from COCO's own function."""
    return _overlaps(detections, gt, crowd=False)


def class_equality(detections: Sequence[Json], gt: Sequence[Json]) -> np.ndarray:
    """Return (D, T): whether both have the same category."""
    classes = consecutive([entry["category_id"] for entry in (*detections, *gt)])
    detected, true = np.split(np.array(classes, dtype=np.int64), [len(detections)])
    return detected[:, None] == true[None]


def lies_in_crowd(detections: Sequence[Json], annotations: Sequence[Json]) -> np.ndarray:
    """Return (D,): whether at least half of a detection lies in a crowd region of its class."""
    crowds = [entry for entry in annotations if entry["iscrowd"]]
    iof = _overlaps(detections, crowds, crowd=True)
    return np.any(class_equality(detections, crowds) & (iof >= FOREGROUND_IOU), axis=1)


def _overlaps(first: Sequence[Json], second: Sequence[Json], crowd: bool) -> np.ndarray:
    if not first or not second:
        return np.zeros((len(first), len(second)))
    boxes = [np.array([entry["bbox"] for entry in side], dtype=float) for side in (first, second)]
    return np.asarray(mask.iou(*boxes, [int(crowd)] * len(second)))


def match_in_order(overlaps: np.ndarray) -> np.ndarray:
    """Match each row, one after the other, to the free column of highest IoU, at least 0.5.

    Args:
        overlaps: (D, T).

    Returns:
        (D,): index of the column, or -1.
    """
    free = overlaps.copy()
    matches = np.full(len(free), -1)
    for row in np.flatnonzero(overlaps.max(axis=1, initial=0.0) >= FOREGROUND_IOU):
        column = free[row].argmax()
        if free[row, column] >= FOREGROUND_IOU:
            matches[row] = column
            free[:, column] = 0.0
    return matches


def count_types(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """Return the number of outcomes of every type, in the order of `ERROR_TYPES`."""
    counts = Counter(outcome.type for outcome in outcomes)
    return {error_type: counts[error_type] for error_type in ERROR_TYPES}


def summarize_errors(
    coco_set: CocoSet, outcomes: Mapping[Any, Sequence[Outcome]], min_score: float
) -> Json:
    """Return the content of ``errors.json``.

    Keys: "min_score"; "images"; "objects" (without crowd regions); "detections"; "types", the count
    of each; "classes", the same for every class by name, where a detection counts for its predicted
    class and a missed object for its own.
    """
    of_category = defaultdict(list)
    for outcome in itertools.chain(*outcomes.values()):
        of_category[outcome.category_id].append(outcome)
    types = count_types(itertools.chain(*outcomes.values()))
    return {
        "min_score": min_score,
        "images": len(outcomes),
        "objects": sum(not entry["iscrowd"] for entry in coco_set.annotations),
        "detections": sum(types.values()) - types["Miss"],
        "types": types,
        "classes": {
            name: count_types(of_category[category])
            for category, name in coco_set.names_of_categories.items()
        },
    }
