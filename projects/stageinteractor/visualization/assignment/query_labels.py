"""What every query of an image learnt at every stage, and where the label came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from ...assigner.boxes import box_iou

OWN, ADDED, DROPPED = "own", "added", "dropped"


@dataclass(frozen=True)
class ImageAssignment:
    """Predictions, matches and labels of one image; S stages, N queries, T objects."""

    name: str
    picture: np.ndarray  # (H, W, 3) uint8 RGB, as the model saw it
    gt_boxes: Tensor  # (T, 4) xyxy pixels of the picture
    gt_classes: Tensor  # (T,)
    boxes: Tensor  # (S, N, 4) xyxy pixels
    scores: Tensor  # (S, N, C) of the classes, in [0, 1]
    matches: Tensor  # (S, N): index of the matched object or -1
    learnt: Tensor  # (S, N, R): objects that the query's classes come from, or -1
    scope: Tensor  # (S, S) bool: whether stage i gathers labels from stage s

    @property
    def target(self) -> dict[str, Tensor]:
        """The objects, as the assigner takes them."""
        return {"boxes": self.gt_boxes, "labels": self.gt_classes}


class QueryLabel(NamedTuple):
    """One label of a query at one stage."""

    query: int
    object: int
    kind: str  # "own": of its own match; "added": of another stage; "dropped": own, not learnt
    sources: tuple[int, ...]  # stages in scope at which the query is matched to this object
    box: tuple[float, float, float, float]  # of the query at this stage, xyxy pixels
    iou: float  # of that box with the object
    score: float  # of the object's class, in [0, 1]


def query_labels(item: ImageAssignment, stage: int) -> list[QueryLabel]:
    """Return the labels that queries were given at a stage, and those that were dropped.

    A label is "own" if it has the class of the query's own match of this stage, whichever object
    it was taken from.
    """
    matches = item.matches.tolist()
    labels = item.gt_classes.tolist()
    marks = []
    for query, (own, learnt) in enumerate(
        zip(matches[stage], item.learnt[stage].tolist(), strict=True)
    ):
        objects = [index for index in learnt if index >= 0]
        for index in objects:
            is_own = own >= 0 and labels[own] == labels[index]
            marks.append(_mark(item, stage, query, index, OWN if is_own else ADDED, matches))
        if own >= 0 and labels[own] not in {labels[index] for index in objects}:
            marks.append(_mark(item, stage, query, own, DROPPED, matches))
    return marks


def _mark(
    item: ImageAssignment, stage: int, query: int, index: int, kind: str, matches: list[list[int]]
) -> QueryLabel:
    box = item.boxes[stage, query]
    label = int(item.gt_classes[index])
    x0, y0, x1, y1 = box.tolist()
    return QueryLabel(
        query=query,
        object=index,
        kind=kind,
        sources=tuple(
            s for s, row in enumerate(matches) if row[query] == index and item.scope[stage, s]
        ),
        box=(x0, y0, x1, y1),
        iou=float(box_iou(box, item.gt_boxes[index])),
        score=float(item.scores[stage, query, label]),
    )


def gt_history(item: ImageAssignment) -> list[list[dict[str, Any]]]:
    """Return [object][stage]: {"match": query or None, "learners": queries that learn from it}."""
    matches, learnt = item.matches.tolist(), item.learnt.tolist()
    history = []
    for index in range(len(item.gt_classes)):
        stages = []
        for row, given in zip(matches, learnt, strict=True):
            match = row.index(index) if index in row else None
            learners = [query for query, objects in enumerate(given) if index in objects]
            stages.append({"match": match, "learners": learners})
        history.append(stages)
    return history
