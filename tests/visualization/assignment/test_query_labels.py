import dataclasses

import torch

from stageinteractor.assigner import CrossStageAssigner
from stageinteractor.visualization.assignment import gt_history, query_labels


def short(marks):
    return [(mark.query, mark.object, mark.kind, mark.sources) for mark in marks]


def test_a_label_is_kept_added_or_dropped(item):
    assert short(query_labels(item, 0)) == [(0, 0, "own", (0,)), (1, 1, "dropped", (0,))]
    assert short(query_labels(item, 1)) == [
        (0, 1, "own", (1,)),
        (0, 0, "added", (0,)),  # query 0 was matched to object 0 at stage 0
        (1, 0, "own", (1,)),
    ]


def test_a_mark_has_the_box_its_overlap_and_the_score_of_the_class(item):
    own, dropped = query_labels(item, 0)
    assert own.box == (10, 10, 30, 30)
    assert own.iou == 1.0
    assert own.score == 0.5
    assert dropped.iou == 0.0
    assert dropped.score == 0.125


def test_the_own_class_by_another_object_is_own(item):
    same = dataclasses.replace(item, gt_classes=torch.tensor([1, 1]))
    same = dataclasses.replace(same, learnt=torch.tensor([[[1, -1]] + [[-1, -1]] * 2] * 2))
    assert short(query_labels(same, 0)) == [(0, 1, "own", (1,)), (1, 1, "dropped", (0,))]


def test_a_label_comes_from_stages_in_scope_alone(item):
    """The query is matched to object 0 at stages 0 and 3; stage 2 looks back one stage."""
    long = dataclasses.replace(
        item,
        boxes=item.boxes[[0, 0, 0, 0]],
        scores=item.scores[[0, 0, 0, 0]],
        matches=torch.tensor([[0, -1, -1], [1, -1, -1], [1, -1, -1], [0, -1, -1]]),
        learnt=torch.tensor([[[0, 1], [-1, -1], [-1, -1]]] * 4),
        scope=CrossStageAssigner().scope_mask(4),
    )
    sources = [{mark.object: mark.sources for mark in query_labels(long, s)} for s in range(4)]
    assert [each[0] for each in sources] == [(0, 3), (0, 3), (3,), (3,)]
    assert [each[1] for each in sources] == [(1, 2), (1, 2), (1, 2), (2,)]


def test_history_names_the_match_and_the_learners(item):
    assert gt_history(item) == [
        [{"match": 0, "learners": [0]}, {"match": 1, "learners": [0, 1]}],
        [{"match": 1, "learners": []}, {"match": 0, "learners": [0]}],
    ]


def test_an_object_without_a_query_has_no_match(item):
    crowded = dataclasses.replace(
        item,
        gt_boxes=item.gt_boxes[[0, 1, 1]],
        gt_classes=torch.tensor([3, 1, 1]),
    )
    assert gt_history(crowded)[2] == [{"match": None, "learners": []}] * 2
