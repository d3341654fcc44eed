"""What went wrong: one kind of finding for every detection and every missed object.

In: an annotated set and detections in COCO's results format. Out: a list of `Finding` an image.
The kinds are those of TIDE (Bolya et al., ECCV 2020), with its thresholds. A detection has the
first kind in `KINDS` that applies: what it fits with IoU >= 0.5 goes before what it touches with
IoU >= 0.1. (TIDE asks for poor localisation first, which in crowded images calls a misnamed object
a badly placed box on its neighbour.)
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask

from ..data.coco_format import CocoSet
from .numbering import consecutive

Json = dict[str, Any]
FITS, TOUCHES = 0.5, 0.1  # IoU
KINDS = {
    "correct": "IoU >= 0.5 with an object of its class that no higher-scoring detection took",
    "duplicate": "IoU >= 0.5 with an object of its class that another detection took",
    "wrong_class": "IoU >= 0.5 with an object, but of another class",
    "poor_localisation": "IoU from 0.1 to 0.5 with an object of its class",
    "both_wrong": "IoU from 0.1 to 0.5 with an object of another class",
    "background": "IoU below 0.1 with every object",
    "missed": "object without a correct, wrongly classified or poorly localised detection",
}


class Finding(NamedTuple):
    """A detection or a missed object, and its kind."""

    kind: str  # a key of KINDS
    detection: Json | None  # None: a missed object
    annotation: Json | None  # the object concerned, the one of highest IoU; None: background
    iou: float  # of the detection with that object; 0 if one of them is missing

    @property
    def category_id(self) -> int:
        """Category that the finding counts for: the detected one, or that of a missed object."""
        entry = self.detection or self.annotation
        assert entry is not None
        return entry["category_id"]


def find_errors(
    coco_set: CocoSet, results: Sequence[Json], min_score: float = 0.3
) -> dict[Any, list[Finding]]:
    """Return the findings of every image, by image id, detections first, the best score first.

    Objects are handed out as COCO does at IoU 0.5: in order of their scores, detections take the
    free object of their class that they overlap most. Crowd regions are no objects; a detection
    that took none and lies in a crowd region of its class is left out, as by COCO.

    Args:
        coco_set: the annotated images.
        results: detections in COCO's results format.
        min_score: detections with a lower score are left out.
    """
    return {
        image["id"]: _findings(detections, annotations)
        for image, detections, annotations in by_image(coco_set, results, min_score)
    }


def by_image(
    coco_set: CocoSet, results: Sequence[Json], min_score: float
) -> Iterable[tuple[Json, list[Json], list[Json]]]:
    """Yield every image with its detections, the best score first, and its annotations."""
    found, truth = defaultdict(list), defaultdict(list)
    for result in results:
        if result["score"] >= min_score:
            found[result["image_id"]].append(result)
    for annotation in coco_set.annotations:
        truth[annotation["image_id"]].append(annotation)
    for image in coco_set.images:
        detections = sorted(found[image["id"]], key=lambda result: -result["score"])
        yield image, detections, truth[image["id"]]


def _findings(detections: list[Json], annotations: list[Json]) -> list[Finding]:
    objects = [entry for entry in annotations if not entry["iscrowd"]]
    overlaps = iou_matrix(detections, objects)
    same_class = class_equality(detections, objects)
    taken = match_in_order(np.where(same_class, overlaps, 0.0))
    in_crowd = lies_in_crowd(detections, annotations)
    findings = []
    for index, detection in enumerate(detections):
        kind, concerned = "correct", int(taken[index])
        if concerned < 0:
            if in_crowd[index]:
                continue
            kind, concerned = _kind(overlaps[index], same_class[index])
        if concerned < 0:
            findings.append(Finding(kind, detection, None, 0.0))
        else:
            overlap = float(overlaps[index, concerned])
            findings.append(Finding(kind, detection, objects[concerned], overlap))
    explained = {
        id(finding.annotation)
        for finding in findings
        if finding.kind in ("correct", "wrong_class", "poor_localisation")
    }
    missed = [entry for entry in objects if id(entry) not in explained]
    return findings + [Finding("missed", None, entry, 0.0) for entry in missed]


def _kind(overlaps: np.ndarray, same_class: np.ndarray) -> tuple[str, int]:
    """Return the kind of a detection that took no object, and the object concerned or -1."""
    candidates = (
        ("duplicate", same_class, FITS),
        ("wrong_class", ~same_class, FITS),
        ("poor_localisation", same_class, TOUCHES),
        ("both_wrong", ~same_class, TOUCHES),
    )
    for kind, allowed, threshold in candidates:
        overlap = np.where(allowed, overlaps, 0.0)
        if overlap.max(initial=0.0) >= threshold:
            return kind, int(overlap.argmax())
    return "background", -1


def iou_matrix(detections: Sequence[Json], objects: Sequence[Json]) -> np.ndarray:
    """Return the IoU (D, T) of all pairs, as COCO computes it."""
    return _overlaps(detections, objects, crowd=False)


def class_equality(detections: Sequence[Json], objects: Sequence[Json]) -> np.ndarray:
    """Return (D, T): whether detection and object have the same category."""
    classes = consecutive([entry["category_id"] for entry in (*detections, *objects)])
    detected, true = np.split(np.array(classes, dtype=np.int64), [len(detections)])
    return detected[:, None] == true[None]


def lies_in_crowd(detections: Sequence[Json], annotations: Sequence[Json]) -> np.ndarray:
    """Return (D,): whether half of a detection lies in a crowd region of its category."""
    crowds = [entry for entry in annotations if entry["iscrowd"]]
    shares = _overlaps(detections, crowds, crowd=True)
    return np.any(class_equality(detections, crowds) & (shares >= FITS), axis=1)


def _overlaps(first: Sequence[Json], second: Sequence[Json], crowd: bool) -> np.ndarray:
    if not first or not second:
        return np.zeros((len(first), len(second)))
    boxes = [np.array([entry["bbox"] for entry in side], dtype=float) for side in (first, second)]
    return np.asarray(mask.iou(*boxes, [int(crowd)] * len(second)))


def match_in_order(overlaps: np.ndarray) -> np.ndarray:
    """Give each row, one after the other, the free column it overlaps most with IoU >= 0.5.

    Args:
        overlaps: (D, T).

    Returns:
        (D,): index of the column, or -1.
    """
    free = overlaps.copy()
    taken = np.full(len(free), -1)
    for row in range(len(free)):
        if free[row].max(initial=0.0) >= FITS:
            taken[row] = free[row].argmax()
            free[:, taken[row]] = 0.0
    return taken


def count_kinds(findings: Iterable[Finding]) -> dict[str, int]:
    """Return how many findings there are of every kind, in the order of `KINDS`."""
    counts = Counter(finding.kind for finding in findings)
    return {kind: counts[kind] for kind in KINDS}


def summarize_errors(
    coco_set: CocoSet, found: Mapping[Any, Sequence[Finding]], min_score: float
) -> Json:
    """Return the counts of `find_errors` as what is written to ``errors.json``.

    Keys: "min_score"; "images"; "objects" (crowd regions not counted); "detections"; "kinds", a
    count of each; "classes", the same for every class by name, where a detection counts for the
    class it names and a missed object for its own.
    """
    of_category = defaultdict(list)
    for finding in itertools.chain(*found.values()):
        of_category[finding.category_id].append(finding)
    kinds = count_kinds(itertools.chain(*found.values()))
    return {
        "min_score": min_score,
        "images": len(found),
        "objects": sum(not entry["iscrowd"] for entry in coco_set.annotations),
        "detections": sum(count for kind, count in kinds.items() if kind != "missed"),
        "kinds": kinds,
        "classes": {
            name: count_kinds(of_category[category])
            for category, name in coco_set.names_of_categories.items()
        },
    }
