"""The labels that each query of an image is assigned at each stage, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from ...assigner.boxes import box_iou

MATCHED, ADDED, DROPPED = "matched", "added", "dropped"


@dataclass(frozen=True)
class ImageAssignment:
    """Predictions, matches and assigned labels of one image; S stages, N queries, T gt boxes."""

    name: str
    image: np.ndarray  # (H, W, 3) uint8 RGB, as the model received it
    gt_boxes: Tensor  # (T, 4) xyxy pixels
    gt_classes: Tensor  # (T,)
    boxes: Tensor  # (S, N, 4) xyxy pixels
    scores: Tensor  # (S, N, C) class scores in [0, 1]
    matches: Tensor  # (S, N): index of the matched gt box or -1
    assigned: Tensor  # (S, N, R): gt indices that a query's class labels come from, or -1
    scope: Tensor  # (S, S) bool: whether stage i gathers labels from stage s
    rescored: Tensor | None = None  # (N, C) class scores after duplicate removal, if there is one

    @property
    def final_scores(self) -> Tensor:
        """(N, C): those of the detections."""
        return self.scores[-1] if self.rescored is None else self.rescored

    @property
    def target(self) -> dict[str, Tensor]:
        """The ground truth in the assigner's form."""
        return {"boxes": self.gt_boxes, "labels": self.gt_classes}


class QueryLabel(NamedTuple):
    """One label of a query at one stage."""

    query: int
    gt_index: int
    kind: str  # "matched": of the stage's match; "added": of another stage; "dropped": not assigned
    sources: tuple[int, ...]  # stages in scope at which the query is matched to this gt box
    box: tuple[float, float, float, float]  # of the query at this stage, xyxy pixels
    iou: float  # of that box with the gt box
    score: float  # of the gt class, in [0, 1]


def query_labels(item: ImageAssignment, stage: int) -> list[QueryLabel]:
    """Return the labels that queries are assigned at a stage, and the dropped ones.

    A label is "matched" if it has the class of the query's match at this stage, even if it comes
    from another gt box.
    """
    matches = item.matches.tolist()
    classes = item.gt_classes.tolist()
    labels = []
    for query, (match, assigned) in enumerate(
        zip(matches[stage], item.assigned[stage].tolist(), strict=True)
    ):
        indices = [index for index in assigned if index >= 0]
        for index in indices:
            is_matched = match >= 0 and classes[match] == classes[index]
            kind = MATCHED if is_matched else ADDED
            labels.append(_query_label(item, stage, query, index, kind, matches))
        if match >= 0 and classes[match] not in {classes[index] for index in indices}:
            labels.append(_query_label(item, stage, query, match, DROPPED, matches))
    return labels


def _query_label(
    item: ImageAssignment, stage: int, query: int, index: int, kind: str, matches: list[list[int]]
) -> QueryLabel:
    box = item.boxes[stage, query]
    x0, y0, x1, y1 = box.tolist()
    return QueryLabel(
        query=query,
        gt_index=index,
        kind=kind,
        sources=tuple(
            s for s, row in enumerate(matches) if row[query] == index and item.scope[stage, s]
        ),
        box=(x0, y0, x1, y1),
        iou=float(box_iou(box, item.gt_boxes[index])),
        score=float(item.scores[stage, query, int(item.gt_classes[index])]),
    )


def gt_history(item: ImageAssignment) -> list[list[dict[str, Any]]]:
    """Return [gt index][stage]: {"match": query or None, "assigned": queries with its label}.

    Of several matched queries, as of `QualityTopKMatcher`, the match is that of the best IoU.
    """
    matches, assigned = item.matches.tolist(), item.assigned.tolist()
    iou = box_iou(item.boxes.unsqueeze(2), item.gt_boxes).tolist()  # [stage][query][gt index]
    history = []
    for index in range(len(item.gt_classes)):
        stages = []
        for row, indices, overlaps in zip(matches, assigned, iou, strict=True):
            matched = [query for query, each in enumerate(row) if each == index]
            match = max(matched, key=lambda query: overlaps[query][index], default=None)
            queries = [query for query, each in enumerate(indices) if index in each]
            stages.append({"match": match, "assigned": queries})
        history.append(stages)
    return history
