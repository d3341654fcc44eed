import dataclasses

import torch

from stageinteractor.assigner.boxes import box_iou
from stageinteractor.visualization.assignment import gt_history, query_labels


def short(labels):
    return [(each.query, each.gt_index, each.kind, each.sources) for each in labels]


def test_labels_are_matched_added_or_dropped(item):
    assert short(query_labels(item, 0)) == [(0, 0, "matched", (0,)), (1, 1, "dropped", (0,))]
    assert short(query_labels(item, 1)) == [
        (0, 1, "matched", (1,)),
        (0, 0, "added", (0,)),  # query 0 was matched to object 0 at stage 0
        (1, 0, "matched", (1,)),
    ]


def test_label_has_box_iou_and_class_score(item):
    matched, dropped = query_labels(item, 0)
    assert matched.box == (10, 10, 30, 30)
    assert matched.iou == 1.0
    assert matched.score == 0.5
    assert dropped.iou == 0.0
    assert dropped.score == 0.125


def test_history_of_several_matches_has_the_best_box(item):
    """Both queries are matched to object 0; the box of query 0 is exact at stage 0."""
    several = dataclasses.replace(item, matches=torch.zeros_like(item.matches))
    best = [int(row[:, 0].argmax()) for row in box_iou(several.boxes[:, :, None], several.gt_boxes)]
    assert [entry["match"] for entry in gt_history(several)[0]] == best
    assert best[0] == 0
    assert [entry["match"] for entry in gt_history(several)[1]] == [None, None]
