"""What the assigner did, as training metrics."""

import pytest
from detectron2.utils.events import EventStorage
from integrations import reference
from integrations.checks import assigned, pairs_of
from integrations.reference import Rule
from integrations.toy_hosts import FocalHost, random_case

from stageinteractor.assigner import CrossStageAssigner, PerStageAssigner
from stageinteractor.integrations import CrossStageCriterion


@pytest.mark.parametrize("assigner", [CrossStageAssigner(), PerStageAssigner()])
def test_statistics_are_written_every_twenty_iterations(assigner):
    wrapped = CrossStageCriterion(FocalHost(), assigner, log_statistics=True)
    outputs, targets = random_case(8)
    pairs = pairs_of(FocalHost(), outputs, targets)
    rule = Rule() if isinstance(assigner, CrossStageAssigner) else Rule(0.0, (0, 0))
    actual = assigned(FocalHost(), outputs, targets, rule)
    expected = reference.statistics(actual, pairs, targets)
    with EventStorage(0) as storage:
        for iteration in range(41):
            storage.iter = iteration
            wrapped(outputs, targets)
        history = {name: storage.history(name).values() for name in storage.histories()}
    assert set(history) == {
        f"assigner/{name}_{stage}"
        for name, values in expected.items()
        for stage in range(len(values))
    }
    for name, values in expected.items():
        for stage, value in enumerate(values):
            entries = history[f"assigner/{name}_{stage}"]
            assert [iteration for _, iteration in entries] == [0, 20, 40]
            assert [entry for entry, _ in entries] == pytest.approx([value] * 3, rel=1e-6)
    if isinstance(assigner, CrossStageAssigner):
        assert all(any(values) for values in expected.values())


@pytest.mark.parametrize("asked", [False, True])
def test_nothing_is_written_outside_of_training_or_unasked(asked):
    wrapped = CrossStageCriterion(FocalHost(), log_statistics=asked)
    wrapped(*random_case(0))
    assert not wrapped.statistics
    if not asked:
        with EventStorage(20) as storage:
            wrapped(*random_case(0))
        assert not storage.histories()
