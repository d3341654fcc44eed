"""What a wrapper leaves of its host: methods, names, weights, copies, other groups of queries."""

import pytest
import torch
from integrations import bad_hosts, reference
from integrations.cases import attributes, case_of, hosts
from integrations.checks import (
    assert_all_equal,
    assert_only_class_losses_changed,
    expected_class_losses,
)
from integrations.toy_hosts import (
    EncoderHost,
    FocalHost,
    SoftmaxHost,
    random_case,
)
from torch import nn

from stageinteractor.integrations import CrossStageCriterion


def test_the_matcher_is_asked_once_a_stage():
    host = EncoderHost()
    wrapped, arguments = CrossStageCriterion(host), case_of(EncoderHost)
    host.matcher.calls = 0
    wrapped(*arguments)
    assert host.matcher.calls == 4 + 1  # once more for the proposals


@hosts
def test_the_host_is_as_before_afterwards(host):
    wrapped = CrossStageCriterion(host())
    before = attributes(wrapped.criterion)
    matcher = wrapped.criterion.matcher
    wrapped(*case_of(host))
    assert attributes(wrapped.criterion) == before
    assert wrapped.criterion.matcher == matcher


@pytest.mark.parametrize("where", ["last", "before"])
def test_the_host_is_as_before_when_it_raises(where):
    host = bad_hosts.RaisingHost()
    wrapped = CrossStageCriterion(host)
    outputs, targets = random_case(0)
    before = attributes(host)
    breaking = outputs if where == "last" else outputs["aux_outputs"][1]
    breaking["breaks"] = True
    with pytest.raises(RuntimeError, match="the host broke down"):
        wrapped(outputs, targets)
    assert attributes(host) == before
    del breaking["breaks"]
    expected = expected_class_losses(host, outputs, targets, None, "max")
    assert_only_class_losses_changed(wrapped(outputs, targets), host(outputs, targets), expected)


def test_further_results_of_the_host_pass_through():
    outputs, targets = random_case(0)
    losses, indices = CrossStageCriterion(FocalHost())(outputs, targets, return_indices=True)
    plain, expected = FocalHost()(outputs, targets, return_indices=True)
    assert list(losses) == list(plain)
    assert reference.to_lists(indices) == reference.to_lists(expected)


def in_a_model(criterion):
    return nn.ModuleDict({"head": nn.Linear(2, 2), "criterion": criterion, "tail": nn.Linear(2, 2)})


@pytest.mark.parametrize(
    "place", [lambda criterion: criterion, in_a_model], ids=["alone", "in a model"]
)
def test_weights_load_with_and_without_the_assigner(place):
    host, wrapped = place(SoftmaxHost()), place(CrossStageCriterion(SoftmaxHost()))
    for model, value in ((host, 0.25), (wrapped, 0.5)):
        for buffer in model.buffers():
            buffer.fill_(value)
    kept = {name: value.clone() for name, value in wrapped.state_dict().items()}
    wrapped.load_state_dict(host.state_dict(), strict=True)
    assert_all_equal(wrapped.state_dict(), host.state_dict())
    host.load_state_dict(kept, strict=True)
    assert_all_equal(host.state_dict(), kept)


def test_attributes_of_the_host_are_reachable():
    host = SoftmaxHost(7)
    wrapped = CrossStageCriterion(host)
    assert wrapped.num_classes == 7
    assert wrapped.weight_dict is host.weight_dict
    assert wrapped.empty_weight is host.empty_weight
    assert wrapped.matcher is host.matcher
    assert not hasattr(wrapped, "nothing_of_this_name")
    with pytest.raises(AttributeError, match="SoftmaxHost.*nothing_of_this_name"):
        wrapped.nothing_of_this_name  # noqa: B018


def hybrid_case(seed):
    outputs, targets = random_case(seed)
    many, _ = random_case(seed + 50, queries=20)
    outputs |= {f"{name}_one2many": value for name, value in many.items()}
    return outputs, targets


def test_outputs_of_the_step_before_are_no_branch_of_this_one():
    wrapped = CrossStageCriterion(FocalHost())
    outputs, targets = hybrid_case(0)
    wrapped(outputs, targets)
    wrapped(*random_case(1))
    many = {name.removesuffix("_one2many"): x for name, x in outputs.items() if "_one2" in name}
    expected = expected_class_losses(FocalHost(), many, targets, None, "max")
    assert_only_class_losses_changed(wrapped(many, targets), FocalHost()(many, targets), expected)


def test_outputs_of_steps_before_are_not_kept_alive():
    wrapped = CrossStageCriterion(FocalHost())
    outputs, targets = hybrid_case(0)
    wrapped(outputs, targets)
    assert len(wrapped._branches) > 0
    del outputs
    assert len(wrapped._branches) == 0


def test_a_missing_weight_is_still_missed():
    with pytest.raises(RuntimeError, match="Missing key.*empty_weight"):
        CrossStageCriterion(SoftmaxHost()).load_state_dict({})
    with pytest.raises(RuntimeError, match="Unexpected key.*full_weight"):
        wrapped = CrossStageCriterion(SoftmaxHost())
        wrapped.load_state_dict(wrapped.state_dict() | {"full_weight": torch.ones(1)})
