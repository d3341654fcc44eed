import torch
from detectron2.utils.events import EventStorage

from stageinteractor.assigner import CrossStageAssigner
from stageinteractor.criterion import FocalLoss, SetCriterion
from stageinteractor.criterion.training_metrics import (
    PERIOD,
    statistics_are_due,
    write_statistics,
)


def test_numbers_are_due_every_twentieth_iteration():
    due = []
    for iteration in range(2 * PERIOD + 1):
        with EventStorage(iteration):
            due.append(statistics_are_due())
    assert [index for index, answer in enumerate(due) if answer] == [0, PERIOD, 2 * PERIOD]


def test_our_criterion_writes_them_when_asked():
    # two queries change places between two stages, and both boxes fit both objects
    box = torch.tensor([0.0, 0, 50, 50])
    boxes = torch.stack([box, box + torch.tensor([0.0, 0, 50, 0])]).expand(2, 1, 2, 4)
    targets = [{"boxes": boxes[0, 0], "labels": torch.tensor([0, 1])}]
    logits = torch.zeros(2, 1, 2, 2)
    matches = torch.tensor([[[0, 1]], [[1, 0]]])
    sizes = torch.tensor([[50.0, 100.0]])
    for asked in (False, True):
        criterion = SetCriterion(
            lambda *_: matches, CrossStageAssigner(), FocalLoss(), log_statistics=asked
        )
        with EventStorage(0) as storage:
            criterion(logits, boxes, targets, sizes)
            actual = {name: value for name, (value, _) in storage.latest().items()}
        expected = {f"assigner/labels_added_{s}": 2.0 for s in range(2)}
        expected |= {f"assigner/labels_dropped_{s}": 0.0 for s in range(2)}
        expected |= {f"assigner/multi_class_queries_{s}": 2.0 for s in range(2)}
        expected |= {f"assigner/multi_query_gt_{s}": 2.0 for s in range(2)}
        expected |= {"assigner/unstable_score_0": 100.0}
        assert actual == (expected if asked else {})


def test_nothing_is_due_without_a_training_loop():
    assert not statistics_are_due()
    write_statistics({"labels_added": torch.tensor([1, 2])})
