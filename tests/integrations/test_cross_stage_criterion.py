"""Losses of wrapped criteria against plain loops."""

from functools import partial

import pytest
import torch
from integrations import toy_hosts
from integrations.cases import case_of, crowd, hosts, learnt_classes
from integrations.checks import (
    NEUTRAL,
    assert_all_equal,
    assert_only_class_losses_changed,
    assigned,
    class_keys,
    expected_class_losses,
    pairs_of,
    stages_of,
)
from integrations.reference import Rule
from integrations.toy_hosts import (
    FocalHost,
    OtherNamesHost,
    SoftmaxHost,
    VarifocalHost,
    random_case,
)
from torch import nn

from stageinteractor.assigner import CrossStageAssigner, PerStageAssigner
from stageinteractor.integrations import CrossStageCriterion

RULES = [
    Rule(),
    Rule(keep_own_match=True),
    Rule(0.7, (None, None)),
    Rule(0.8, (0, 0)),
    Rule(0.6, (-2, 1), True),
]


@hosts
@pytest.mark.parametrize("seed", range(3))
def test_the_neutral_setting_changes_no_bit(host, seed):
    arguments = case_of(host, seed)
    assert_all_equal(CrossStageCriterion(host(), **NEUTRAL)(*arguments), host()(*arguments))


@hosts
def test_per_stage_matches_with_the_hosts_number_change_no_bit(host):
    wrapped = CrossStageCriterion(host(), PerStageAssigner(), "host")
    arguments = case_of(host)
    assert_all_equal(wrapped(*arguments), host()(*arguments))


@hosts
@pytest.mark.parametrize("rule", RULES)
def test_only_class_losses_change_to_the_reference(host, rule):
    assigner = CrossStageAssigner(*rule)
    for seed, normalizer in enumerate(("host", "max")):
        wrapped = CrossStageCriterion(host(), assigner, normalizer)
        arguments = case_of(host, seed, stages=3)
        expected = expected_class_losses(host(), *arguments[:2], rule, normalizer)
        plain = host()(*arguments)
        assert_only_class_losses_changed(wrapped(*arguments), plain, expected)
        assert any(plain[name].item() != pytest.approx(expected[name].item()) for name in expected)


def test_crowded_case_has_queries_with_two_and_three_classes():
    outputs, targets = crowd()
    assert learnt_classes(outputs, targets) == [[3, 3], [3, 3], [2, 2]]


@pytest.mark.parametrize("host", [FocalHost, VarifocalHost])
def test_a_query_may_have_three_classes(host):
    outputs, targets = crowd()
    wrapped = CrossStageCriterion(host(3), normalizer="host")
    expected = expected_class_losses(host(3), outputs, targets)
    assert_only_class_losses_changed(wrapped(outputs, targets), host(3)(outputs, targets), expected)


def test_softmax_gets_the_class_of_the_best_iou():
    outputs, targets = crowd(columns=4)
    actual = CrossStageCriterion(SoftmaxHost(3), normalizer="host")(outputs, targets)
    # the boxes of stages 0, 1 and 2 are nearest to objects 0, 1 and 2, of the classes 0, 2 and 1
    for name, stage, label in (("_0", 0, 0), ("_1", 1, 2), ("", 2, 1)):
        logits = stages_of(outputs, FocalHost)[stage]["pred_logits"][0]
        classes = torch.tensor([3, label, 3, label])
        expected = nn.functional.cross_entropy(logits, classes, SoftmaxHost(3).empty_weight)
        assert actual[f"loss_class{name}"].item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("host", [FocalHost, VarifocalHost, OtherNamesHost])
@pytest.mark.parametrize("rule", RULES)
def test_normalizer_max_divides_by_the_larger_number(host, rule):
    outputs, targets = random_case(4, host)
    assigner = CrossStageAssigner(*rule)
    by_host = CrossStageCriterion(host(), assigner, "host")(outputs, targets)
    by_labels = CrossStageCriterion(host(), assigner, "max")(outputs, targets)
    pairs, actual = (f(host(), outputs, targets) for f in (pairs_of, partial(assigned, rule=rule)))
    for name, images, entries in zip(class_keys(host, 4), pairs, actual, strict=True):
        matches, labels = sum(map(len, images)), sum(map(len, entries))
        expected = by_host[name].item() * matches / max(matches, labels)
        assert by_labels[name].item() == pytest.approx(expected, rel=1e-6)


def test_normalizer_max_leaves_the_mean_of_a_softmax_alone():
    outputs, targets = random_case(0, SoftmaxHost)
    actual = [
        CrossStageCriterion(SoftmaxHost(), normalizer=n)(outputs, targets) for n in ("host", "max")
    ]
    assert_all_equal(*actual)


@pytest.mark.parametrize("host", [FocalHost, SoftmaxHost, VarifocalHost, OtherNamesHost])
@pytest.mark.parametrize("normalizer", ["host", "max"])
def test_gradients_are_those_of_the_reference(host, normalizer):
    outputs, targets = random_case(1, host, stages=3, dtype=torch.float64)
    actual, expected = (toy_hosts.with_gradients(outputs, host) for _ in range(2))
    losses = CrossStageCriterion(host(), normalizer=normalizer)(actual[0], targets)
    sum(losses[name] for name in class_keys(host(), 3)).backward()
    sum(expected_class_losses(host(), expected[0], targets, None, normalizer).values()).backward()
    for ours, theirs in zip(actual[1], expected[1], strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("host", [FocalHost, SoftmaxHost, VarifocalHost, OtherNamesHost])
@pytest.mark.parametrize("counts", [(0, 3), (3, 0, 0), (0,), (0, 0)])
def test_images_and_batches_without_objects(host, counts):
    outputs, targets = random_case(3, host, counts=counts, stages=3)
    actual = CrossStageCriterion(host())(outputs, targets)
    expected = expected_class_losses(host(), outputs, targets, None, "max")
    assert_only_class_losses_changed(actual, host()(outputs, targets), expected)


def half(outputs, host):
    """The same with logits in bfloat16."""
    stages = stages_of(outputs, host)
    stages = [stage | {host.logits: stage[host.logits].bfloat16()} for stage in stages]
    return stages[-1] | {host.before: stages[:-1]}


@pytest.mark.parametrize("host", [FocalHost, SoftmaxHost, VarifocalHost])
def test_half_precision_logits_under_autocast(host):
    outputs, targets = random_case(6, host)
    outputs, logits = toy_hosts.with_gradients(half(outputs, host), host)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        neutral = CrossStageCriterion(host(), **NEUTRAL)(outputs, targets)
        assert_all_equal(neutral, host()(outputs, targets))
        actual = CrossStageCriterion(host())(outputs, targets)
        expected = expected_class_losses(host(), outputs, targets, None, "max")
        plain = host()(outputs, targets)
    assert_only_class_losses_changed(actual, plain, expected, tolerance=0.02)
    sum(actual.values()).backward()
    assert all(x.grad.isfinite().all() for x in logits)


def test_attributes_of_the_criterion_are_read_and_set_on_it():
    host, other = FocalHost(), toy_hosts.Matcher()
    wrapped = CrossStageCriterion(host)
    wrapped.matcher = other
    wrapped.weight_dict = {"loss_class": 1.0}
    assert host.matcher is wrapped.matcher is other
    assert host.weight_dict == wrapped.weight_dict == {"loss_class": 1.0}
    wrapped(*random_case(0))
    assert other.calls == 4
    wrapped.normalizer = "host"  # one of its own
    assert not hasattr(host, "normalizer")
