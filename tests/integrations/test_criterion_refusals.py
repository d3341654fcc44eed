"""Hosts that cannot be served, and what is said about them."""

import logging

import pytest
from integrations import bad_hosts
from integrations.cases import attributes
from integrations.checks import (
    assert_only_class_losses_changed,
    expected_class_losses,
)
from integrations.toy_hosts import (
    FocalHost,
    OtherNamesHost,
    SoftmaxHost,
    random_case,
)

from stageinteractor.assigner import CopiesMatcher, HungarianMatcher, QualityTopKMatcher
from stageinteractor.errors import UnsupportedHostError
from stageinteractor.integrations import AdaptedMatcher, CrossStageCriterion
from stageinteractor.integrations.host_matcher import PositionModulatedHostMatcher


@pytest.fixture
def log(caplog):
    """What the criterion logs, also when another test has set loggers up."""
    logger = logging.getLogger("stageinteractor.integrations.cross_stage_criterion")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.mark.parametrize("host", [FocalHost, SoftmaxHost, OtherNamesHost])
def test_one_stage_is_served_with_one_warning(host, log):
    CrossStageCriterion(host())(*random_case(0, host))
    assert not log.records  # several stages
    wrapped = CrossStageCriterion(host())
    for seed in range(2):
        outputs, targets = random_case(seed, host, stages=1)
        expected = expected_class_losses(host(), outputs, targets, None, "max")
        plain = host()(outputs, targets)
        assert_only_class_losses_changed(wrapped(outputs, targets), plain, expected)
        del outputs[host.before]
        assert_only_class_losses_changed(wrapped(outputs, targets), plain, expected)
    (record,) = {id(record): record for record in log.records}.values()  # may have come two ways
    assert record.getMessage().startswith(f"{host.__name__} got one decoder stage only")


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (bad_hosts.NoMatcherHost, "NoMatcherHost has no matcher: it is not a criterion of DETR"),
        (bad_hosts.ClipHost, "ClipHost follows objects through the frames of a clip"),
        (bad_hosts.NoClassesHost, "NoClassesHost has no num_classes, .*: set this attribute"),
        (bad_hosts.NotAModule, "NotAModule is no torch.nn.Module"),
        (bad_hosts.OtherKeyHost, "it returns ce, but the names of losses begin with loss"),
        (bad_hosts.NoHookHost, r"NoHookHost: no method loss_labels\*\(outputs, targets, indices"),
        (bad_hosts.HookOfOtherFormHost, "from logits and boxes alone .*sampled_points"),
        (
            bad_hosts.LargestTargetHost,
            "LargestTargetHost: its class loss is not a sum over queries",
        ),
        (bad_hosts.UnionHost, "UnionHost has use_uni_set=True: .*union of all stages' matches"),
        (lambda: CrossStageCriterion(FocalHost()), "has the cross-stage assigner already"),
    ],
)
def test_unsupported_criteria_are_refused_when_wrapped(host, message):
    with pytest.raises(UnsupportedHostError, match=message):
        CrossStageCriterion(host())


@pytest.mark.parametrize(
    "setting",
    [
        *("assign_second_stage", "use_dense_one_to_one", "use_position_supervised_loss"),
        "use_uni_set",
    ],
)
def test_unsupported_settings_are_refused_only_when_on(setting):
    host = FocalHost()
    setattr(host, setting, True)
    with pytest.raises(UnsupportedHostError, match=f"FocalHost has {setting}=True: "):
        CrossStageCriterion(host)
    setattr(host, setting, False)
    CrossStageCriterion(host)


def with_matcher(matcher):
    return lambda: FocalHost(matcher=matcher())


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (bad_hosts.DifferentCopiesHost, "matches its stages with different arguments"),
        (bad_hosts.DifferentTargetsHost, "matches its stages with different arguments"),
        (with_matcher(bad_hosts.TwoObjectsMatcher), "several ground-truth boxes at one stage"),
        (bad_hosts.OtherPairsHost, "with other pairs than its matcher returned for that stage"),
        (bad_hosts.OwnAssignmentHost, "with other pairs than its matcher returned for that stage"),
        (bad_hosts.LastStageHost, "called its matcher for 1 of its 4 stages only"),
        (bad_hosts.CastingHost, r"its matcher for 3 of its 4 .* \(\.float\(\), \.clone\(\), ind"),
        (bad_hosts.LateCastingHost, "called its class loss for 0 of its 4 stages only"),
    ],
)
def test_unsupported_criteria_are_refused_at_the_first_step(host, message):
    host = host()
    wrapped = CrossStageCriterion(host)
    before = attributes(host)
    with pytest.raises(UnsupportedHostError, match=message):
        wrapped(*random_case(0))
    assert attributes(host) == before


def test_an_unknown_normalizer_is_refused():
    with pytest.raises(ValueError, match="normalizer must be 'max' or 'host', got 'min'"):
        CrossStageCriterion(FocalHost(), normalizer="min")


def test_fewer_auxiliary_outputs_than_stages_are_refused():
    wrapped = CrossStageCriterion(FocalHost(), num_stages=6)
    with pytest.raises(UnsupportedHostError, match="expected 5 auxiliary outputs .*, got 3"):
        wrapped(*random_case(0))


def test_stages_with_different_numbers_of_queries_are_refused():
    outputs, targets = random_case(0)
    first = outputs["aux_outputs"][0]
    outputs["aux_outputs"][0] = {name: value[:, :-1] for name, value in first.items()}
    number = outputs["pred_boxes"].shape[1]
    with pytest.raises(UnsupportedHostError, match=f"of queries, {number - 1}, {number}, {number}"):
        CrossStageCriterion(FocalHost())(outputs, targets)


def test_outputs_without_logits_are_refused():
    with pytest.raises(
        UnsupportedHostError, match="none of pred_logits, logits, but scores, boxes"
    ):
        CrossStageCriterion(FocalHost())({"scores": 0, "boxes": 0}, [])


@pytest.mark.parametrize("matcher", [HungarianMatcher(), CopiesMatcher(), QualityTopKMatcher()])
def test_matchers_of_the_package_are_adapted_first(matcher):
    with pytest.raises(UnsupportedHostError, match="FocalHost: .*wrap it in AdaptedMatcher"):
        CrossStageCriterion(FocalHost(), matcher=matcher)
    CrossStageCriterion(FocalHost(), matcher=AdaptedMatcher(matcher))


@pytest.mark.parametrize("matcher", [PositionModulatedHostMatcher(), AdaptedMatcher(None)])
def test_matchers_of_sigmoid_scores_are_refused_for_a_softmax(matcher):
    with pytest.raises(UnsupportedHostError, match="SoftmaxHost: .*Matcher"):
        CrossStageCriterion(SoftmaxHost(), matcher=matcher)
    CrossStageCriterion(FocalHost(), matcher=matcher)
