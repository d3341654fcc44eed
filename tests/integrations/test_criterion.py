import copy
import logging
import os
import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from detectron2.utils.events import EventStorage
from integrations import reference, toy_hosts
from integrations.checks import (
    NEUTRAL,
    assert_all_equal,
    assert_only_class_losses_changed,
    class_keys,
    learnt,
    pairs_of,
    stages_of,
    wanted_class_losses,
)
from integrations.reference import Rule
from integrations.toy_hosts import (
    DenoisingHost,
    EncoderHost,
    FocalHost,
    MethodMatcherHost,
    OtherNamesHost,
    PlainMatcherHost,
    SoftmaxHost,
    VarifocalHost,
    random_case,
)
from torch import nn

from stageinteractor.assigner import CrossStageAssigner, PerStageAssigner
from stageinteractor.errors import UnsupportedHostError
from stageinteractor.integrations import CrossStageCriterion

HOSTS = [
    *(FocalHost, SoftmaxHost, VarifocalHost, OtherNamesHost, PlainMatcherHost, MethodMatcherHost),
    *(EncoderHost, DenoisingHost),
]
RULES = [
    Rule(),
    Rule(keep_own_match=True),
    Rule(0.7, (None, None)),
    Rule(0.8, (0, 0)),
    Rule(0.6, (-2, 1), True),
]
hosts = pytest.mark.parametrize("host", HOSTS)


def case_of(host, seed=0, **sizes):
    """Outputs, targets and further arguments of a host's call."""
    outputs, targets = random_case(seed, host, **sizes)
    other, _ = random_case(seed + 100, host, queries=12, **sizes)
    if host is EncoderHost:
        outputs["enc_outputs"] = {key: other[key] for key in ("pred_logits", "pred_boxes")}
    further = (stages_of(other, host),) if host is DenoisingHost else ()
    return outputs, targets, *further


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
def test_class_losses_are_those_of_the_reference_and_no_other_loss_changes(host, rule):
    assigner = CrossStageAssigner(*rule)
    for seed, normalizer in enumerate(("host", "max")):
        wrapped = CrossStageCriterion(host(), assigner, normalizer)
        arguments = case_of(host, seed, stages=3)
        wanted = wanted_class_losses(host(), *arguments[:2], rule, normalizer)
        plain = host()(*arguments)
        assert_only_class_losses_changed(wrapped(*arguments), plain, wanted)
        assert any(plain[name].item() != pytest.approx(wanted[name].item()) for name in wanted)


def learnt_classes(outputs, targets):
    """How many classes the queries learn, stage by stage."""
    counts = []
    for stage in learnt(FocalHost(), outputs, targets):
        each = [(image, query) for image, entries in enumerate(stage) for query, _ in entries]
        counts.append(sorted(each.count(query) for query in set(each)))
    return counts


def crowd(columns=3):
    """Two queries that are matched to another one of three objects at each of three stages."""
    box = torch.tensor([0.5, 0.5, 0.4, 0.4])
    objects = torch.stack([box, box * 0.95, box * 1.05])
    targets = [{"boxes": objects, "labels": torch.tensor([0, 2, 1])}]
    generator = torch.Generator().manual_seed(0)
    stages = [
        {
            "pred_logits": torch.randn(1, 4, columns, generator=generator),
            "pred_boxes": (box * scale).expand(1, 4, 4),
            "pairs": [(torch.tensor([1, 3]), torch.tensor([index, (index + 1) % 3]))],
        }
        for index, scale in enumerate((1.0, 0.96, 1.04))
    ]
    return stages[2] | {"aux_outputs": stages[:2]}, targets


def test_the_made_up_crowd_has_queries_with_two_and_three_classes():
    outputs, targets = crowd()
    assert learnt_classes(outputs, targets) == [[3, 3], [3, 3], [2, 2]]


@pytest.mark.parametrize("host", [FocalHost, VarifocalHost])
def test_a_query_learns_three_classes_at_once(host):
    outputs, targets = crowd()
    wrapped = CrossStageCriterion(host(3), normalizer="host")
    wanted = wanted_class_losses(host(3), outputs, targets)
    assert_only_class_losses_changed(wrapped(outputs, targets), host(3)(outputs, targets), wanted)


def test_a_mean_over_queries_is_served_exactly_or_refused():
    outputs, targets = crowd()
    try:
        found = CrossStageCriterion(toy_hosts.MeanHost(3), normalizer="host")(outputs, targets)
    except UnsupportedHostError:
        return
    wanted = wanted_class_losses(FocalHost(3), outputs, targets)
    assert found["loss_class"].item() == pytest.approx(wanted["loss_class"].item() / 4, rel=1e-6)


def test_random_crowds_have_queries_with_two_and_three_classes():
    counts = [learnt_classes(*random_case(seed)) for seed in range(3)]
    assert {count for case in counts for stage in case for count in stage} >= {1, 2, 3}


def test_softmax_learns_the_class_of_the_best_overlap():
    outputs, targets = crowd(columns=4)
    found = CrossStageCriterion(SoftmaxHost(3), normalizer="host")(outputs, targets)
    # the boxes of stages 0, 1 and 2 are nearest to objects 0, 1 and 2, of the classes 0, 2 and 1
    for name, stage, label in (("_0", 0, 0), ("_1", 1, 2), ("", 2, 1)):
        logits = stages_of(outputs, FocalHost)[stage]["pred_logits"][0]
        classes = torch.tensor([3, label, 3, label])
        wanted = nn.functional.cross_entropy(logits, classes, SoftmaxHost(3).empty_weight)
        assert found[f"loss_class{name}"].item() == pytest.approx(wanted.item(), rel=1e-6)


@pytest.mark.parametrize("host", [FocalHost, VarifocalHost, OtherNamesHost])
@pytest.mark.parametrize("rule", RULES)
def test_normalizer_max_divides_by_labels_where_they_are_more_than_matches(host, rule):
    outputs, targets = random_case(4, host)
    assigner = CrossStageAssigner(*rule)
    by_host = CrossStageCriterion(host(), assigner, "host")(outputs, targets)
    by_labels = CrossStageCriterion(host(), assigner, "max")(outputs, targets)
    pairs, found = (f(host(), outputs, targets) for f in (pairs_of, partial(learnt, rule=rule)))
    for name, images, entries in zip(class_keys(host, 4), pairs, found, strict=True):
        matches, labels = sum(map(len, images)), sum(map(len, entries))
        wanted = by_host[name].item() * matches / max(matches, labels)
        assert by_labels[name].item() == pytest.approx(wanted, rel=1e-6)


def test_normalizer_max_leaves_the_mean_of_a_softmax_alone():
    outputs, targets = random_case(0, SoftmaxHost)
    found = [
        CrossStageCriterion(SoftmaxHost(), normalizer=n)(outputs, targets) for n in ("host", "max")
    ]
    assert_all_equal(*found)


@pytest.mark.parametrize("host", [FocalHost, SoftmaxHost, VarifocalHost, OtherNamesHost])
@pytest.mark.parametrize("normalizer", ["host", "max"])
def test_gradients_are_those_of_the_reference(host, normalizer):
    outputs, targets = random_case(1, host, stages=3, dtype=torch.float64)
    found, wanted = (toy_hosts.with_gradients(outputs, host) for _ in range(2))
    losses = CrossStageCriterion(host(), normalizer=normalizer)(found[0], targets)
    sum(losses[name] for name in class_keys(host(), 3)).backward()
    sum(wanted_class_losses(host(), wanted[0], targets, None, normalizer).values()).backward()
    for ours, theirs in zip(found[1], wanted[1], strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("host", [FocalHost, SoftmaxHost, VarifocalHost])
@pytest.mark.parametrize("size", [1.0, 30.0, 1e4])
def test_gradients_are_finite_however_large_the_logits_are(host, size):
    outputs, targets = random_case(2, host)
    for stage in stages_of(outputs, FocalHost):
        stage["pred_logits"] *= size
    outputs, logits = toy_hosts.with_gradients(outputs)
    sum(CrossStageCriterion(host())(outputs, targets).values()).backward()
    assert all(x.grad.isfinite().all() for x in logits)


def test_the_matcher_is_asked_once_a_stage():
    host = EncoderHost()
    wrapped, arguments = CrossStageCriterion(host), case_of(EncoderHost)
    host.matcher.calls = 0
    wrapped(*arguments)
    assert host.matcher.calls == 4 + 1  # once more for the proposals


def attributes(module):
    """The names that every part of a criterion has as its own."""
    return {name: set(vars(part)) for name, part in module.named_modules()}


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
    host = toy_hosts.RaisingHost()
    wrapped = CrossStageCriterion(host)
    outputs, targets = random_case(0)
    before = attributes(host)
    breaking = outputs if where == "last" else outputs["aux_outputs"][1]
    breaking["breaks"] = True
    with pytest.raises(RuntimeError, match="the host broke down"):
        wrapped(outputs, targets)
    assert attributes(host) == before
    del breaking["breaks"]
    wanted = wanted_class_losses(host, outputs, targets, None, "max")
    assert_only_class_losses_changed(wrapped(outputs, targets), host(outputs, targets), wanted)


@pytest.mark.parametrize("host", [FocalHost, SoftmaxHost, VarifocalHost, OtherNamesHost])
@pytest.mark.parametrize("counts", [(0, 3), (3, 0, 0), (0,), (0, 0)])
def test_images_and_batches_without_objects(host, counts):
    outputs, targets = random_case(3, host, counts=counts, stages=3)
    found = CrossStageCriterion(host())(outputs, targets)
    wanted = wanted_class_losses(host(), outputs, targets, None, "max")
    assert_only_class_losses_changed(found, host()(outputs, targets), wanted)


@pytest.mark.parametrize("host", [FocalHost, SoftmaxHost, VarifocalHost])
def test_more_objects_than_queries(host):
    outputs, targets = random_case(3, host, counts=(7, 2), queries=4)
    found = CrossStageCriterion(host())(outputs, targets)
    wanted = wanted_class_losses(host(), outputs, targets, None, "max")
    assert_only_class_losses_changed(found, host()(outputs, targets), wanted)


@pytest.fixture
def log(caplog):
    """What the criterion logs, also when another test has set loggers up."""
    logger = logging.getLogger("stageinteractor.integrations.criterion")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.mark.parametrize("host", [FocalHost, SoftmaxHost, OtherNamesHost])
def test_one_stage_is_served_with_one_warning(host, log):
    wrapped = CrossStageCriterion(host())
    for seed in range(2):
        outputs, targets = random_case(seed, host, stages=1)
        wanted = wanted_class_losses(host(), outputs, targets, None, "max")
        plain = host()(outputs, targets)
        assert_only_class_losses_changed(wrapped(outputs, targets), plain, wanted)
        del outputs[host.before]
        assert_only_class_losses_changed(wrapped(outputs, targets), plain, wanted)
    (record,) = {id(record): record for record in log.records}.values()  # may have come two ways
    assert record.getMessage().startswith(f"{host.__name__} was given one decoder stage only")


def test_several_stages_are_served_without_a_warning(log):
    CrossStageCriterion(FocalHost())(*random_case(0))
    assert not log.records


@pytest.mark.parametrize("host", HOSTS[:4])
def test_double_precision_is_kept(host):
    outputs, targets = random_case(5, host, dtype=torch.float64)
    found = CrossStageCriterion(host())(outputs, targets)
    wanted = wanted_class_losses(host(), outputs, targets, None, "max")
    plain = host()(outputs, targets)
    assert_only_class_losses_changed(found, plain, wanted, tolerance=1e-12)
    assert {name: x.dtype for name, x in found.items()} == {n: x.dtype for n, x in plain.items()}


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
        found = CrossStageCriterion(host())(outputs, targets)
        wanted = wanted_class_losses(host(), outputs, targets, None, "max")
        plain = host()(outputs, targets)
    assert_only_class_losses_changed(found, plain, wanted, tolerance=0.02)
    sum(found.values()).backward()
    assert all(x.grad.isfinite().all() for x in logits)


def test_boxes_of_one_stage_in_half_precision():
    outputs, targets = random_case(6)
    outputs["aux_outputs"][1]["pred_boxes"] = outputs["aux_outputs"][1]["pred_boxes"].bfloat16()
    wanted = wanted_class_losses(FocalHost(), outputs, targets, None, "max")
    found, plain = CrossStageCriterion(FocalHost())(outputs, targets), FocalHost()(outputs, targets)
    assert_only_class_losses_changed(found, plain, wanted)


def test_further_results_of_the_host_pass_through():
    outputs, targets = random_case(0)
    losses, indices = CrossStageCriterion(FocalHost())(outputs, targets, return_indices=True)
    plain, wanted = FocalHost()(outputs, targets, return_indices=True)
    assert list(losses) == list(plain)
    assert reference.to_lists(indices) == reference.to_lists(wanted)


def in_a_model(criterion):
    return nn.ModuleDict({"head": nn.Linear(2, 2), "criterion": criterion, "tail": nn.Linear(2, 2)})


def test_names_in_a_state_dict_are_those_of_the_host():
    host, wrapped = in_a_model(SoftmaxHost()), in_a_model(CrossStageCriterion(SoftmaxHost()))
    assert list(wrapped.state_dict()) == list(host.state_dict())
    assert "criterion.empty_weight" in wrapped.state_dict()
    assert list(CrossStageCriterion(SoftmaxHost()).state_dict()) == ["empty_weight"]


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


def test_a_missing_weight_is_still_missed():
    with pytest.raises(RuntimeError, match="Missing key.*empty_weight"):
        CrossStageCriterion(SoftmaxHost()).load_state_dict({})
    with pytest.raises(RuntimeError, match="Unexpected key.*full_weight"):
        wrapped = CrossStageCriterion(SoftmaxHost())
        wrapped.load_state_dict(wrapped.state_dict() | {"full_weight": torch.ones(1)})


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


def test_training_and_evaluation_reach_the_host():
    wrapped = CrossStageCriterion(FocalHost())
    assert not wrapped.eval().criterion.training
    assert wrapped.train().criterion.training


@hosts
@pytest.mark.parametrize(
    "duplicate",
    [
        copy.deepcopy,
        pytest.param(lambda wrapped: pickle.loads(pickle.dumps(wrapped))),
    ],
    ids=["deepcopy", "pickle"],
)
def test_copies_compute_the_same_and_are_free_of_the_original(host, duplicate):
    wrapped, arguments = CrossStageCriterion(host(), CrossStageAssigner(0.6)), case_of(host)
    wanted = wrapped(*arguments)
    copied = duplicate(wrapped)
    assert_all_equal(copied(*arguments), wanted)
    assert copied.criterion is not wrapped.criterion
    assert list(copied.state_dict()) == list(wrapped.state_dict())


def test_further_auxiliary_outputs_are_not_stages():
    outputs, targets = random_case(7, stages=4)
    stages = stages_of(outputs, FocalHost)
    wrapped = CrossStageCriterion(FocalHost(), num_stages=3)
    plain = FocalHost()(outputs, targets)
    wanted = wanted_class_losses(
        FocalHost(), outputs, targets, None, "max", [*stages[:2], stages[3]]
    )
    assert_only_class_losses_changed(wrapped(outputs, targets), plain, wanted)
    assert set(plain) - set(wanted) >= {"loss_class_2", "loss_bbox_2"}


def test_fewer_auxiliary_outputs_than_stages_are_refused():
    wrapped = CrossStageCriterion(FocalHost(), num_stages=6)
    with pytest.raises(UnsupportedHostError, match="expected 5 auxiliary outputs .*, got 3"):
        wrapped(*random_case(0))


@pytest.mark.parametrize("assigner", [CrossStageAssigner(), PerStageAssigner()])
def test_statistics_are_written_every_twenty_iterations(assigner):
    wrapped = CrossStageCriterion(FocalHost(), assigner, log_statistics=True)
    outputs, targets = random_case(8)
    pairs = pairs_of(FocalHost(), outputs, targets)
    rule = Rule() if isinstance(assigner, CrossStageAssigner) else Rule(0.0, (0, 0))
    found = learnt(FocalHost(), outputs, targets, rule)
    wanted = reference.statistics(found, pairs, targets)
    with EventStorage(0) as storage:
        for iteration in range(41):
            storage.iter = iteration
            wrapped(outputs, targets)
        history = {name: storage.history(name).values() for name in storage.histories()}
    assert set(history) == {
        f"assigner/{name}_{stage}"
        for name, values in wanted.items()
        for stage in range(len(values))
    }
    for name, values in wanted.items():
        for stage, value in enumerate(values):
            entries = history[f"assigner/{name}_{stage}"]
            assert [iteration for _, iteration in entries] == [0, 20, 40]
            assert [entry for entry, _ in entries] == pytest.approx([value] * 3, rel=1e-6)
    if isinstance(assigner, CrossStageAssigner):
        assert all(any(values) for values in wanted.values())


def test_statistics_of_a_softmax_count_the_best_class_only():
    wrapped = CrossStageCriterion(SoftmaxHost(), log_statistics=True)
    outputs, targets = random_case(8, SoftmaxHost)
    pairs = pairs_of(SoftmaxHost(), outputs, targets)
    found = reference.best_classes(learnt(SoftmaxHost(), outputs, targets))
    with EventStorage(20):
        wrapped(outputs, targets)
    wanted = reference.statistics(found, pairs, targets)
    found = {name: values.tolist() for name, values in wrapped.statistics.items()}
    assert found == {name: pytest.approx(values) for name, values in wanted.items()}
    assert found["multi_class_queries"] == [0, 0, 0, 0]


@pytest.mark.parametrize("asked", [False, True])
def test_nothing_is_written_outside_of_training_or_unasked(asked):
    wrapped = CrossStageCriterion(FocalHost(), log_statistics=asked)
    wrapped(*random_case(0))
    assert not wrapped.statistics
    if not asked:
        with EventStorage(20) as storage:
            wrapped(*random_case(0))
        assert not storage.histories()


def hybrid_case(seed):
    outputs, targets = random_case(seed)
    many, _ = random_case(seed + 50, queries=20)
    outputs |= {f"{name}_one2many": value for name, value in many.items()}
    return outputs, targets


def test_queries_with_many_matches_an_object_are_not_touched():
    wrapped = CrossStageCriterion(FocalHost())
    for seed in range(3):
        outputs, targets = hybrid_case(seed)
        plain = toy_hosts.hybrid_losses(FocalHost(), outputs, targets)
        found = toy_hosts.hybrid_losses(wrapped, outputs, targets)
        wanted = wanted_class_losses(FocalHost(), outputs, targets, None, "max")
        assert_only_class_losses_changed(found, plain, wanted)


def test_outputs_of_the_step_before_are_no_branch_of_this_one():
    wrapped = CrossStageCriterion(FocalHost())
    outputs, targets = hybrid_case(0)
    wrapped(outputs, targets)
    wrapped(*random_case(1))
    many = {name.removesuffix("_one2many"): x for name, x in outputs.items() if "_one2" in name}
    wanted = wanted_class_losses(FocalHost(), many, targets, None, "max")
    assert_only_class_losses_changed(wrapped(many, targets), FocalHost()(many, targets), wanted)


def test_outputs_of_steps_before_are_not_kept_alive():
    wrapped = CrossStageCriterion(FocalHost())
    outputs, targets = hybrid_case(0)
    wrapped(outputs, targets)
    assert len(wrapped._branches) > 0
    del outputs
    assert len(wrapped._branches) == 0


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (toy_hosts.NoMatcherHost, "NoMatcherHost has no matcher: it is not a criterion of DETR"),
        (toy_hosts.NoClassesHost, "NoClassesHost has no num_classes: it is not a criterion of"),
        (toy_hosts.NoHookHost, r"NoHookHost: no method loss_labels\*\(outputs, targets, indices"),
        (toy_hosts.HookOfOtherFormHost, "from logits and boxes alone .*sampled_points"),
        (
            toy_hosts.LargestTargetHost,
            "LargestTargetHost: its class loss is not a sum over queries",
        ),
        (toy_hosts.UnionHost, "UnionHost has use_uni_set=True: .*union of all stages' matches"),
        (lambda: CrossStageCriterion(FocalHost()), "has the cross-stage assigner already"),
    ],
)
def test_criteria_that_cannot_be_served_are_refused_when_wrapped(host, message):
    with pytest.raises(UnsupportedHostError, match=message):
        CrossStageCriterion(host())


@pytest.mark.parametrize(
    "setting",
    [
        *("assign_second_stage", "use_dense_one_to_one", "use_position_supervised_loss"),
        "use_uni_set",
    ],
)
def test_settings_that_cannot_be_served_are_refused_only_when_they_are_on(setting):
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
        (toy_hosts.DifferentCopiesHost, "matches its stages with different arguments"),
        (toy_hosts.DifferentTargetsHost, "matches its stages with different arguments"),
        (with_matcher(toy_hosts.TwoObjectsMatcher), "gives a query several objects at one stage"),
        (toy_hosts.OtherPairsHost, "with other pairs than its matcher returned for that stage"),
        (toy_hosts.OwnAssignmentHost, "with other pairs than its matcher returned for that stage"),
        (toy_hosts.NoLossesHost, "asked its matcher for 0 of its 4 decoder stages only"),
        (toy_hosts.LastStageHost, "asked its matcher for 1 of its 4 decoder stages only"),
        (toy_hosts.CastingHost, "asked its matcher for 3 of its 4 decoder stages only"),
    ],
)
def test_criteria_that_cannot_be_served_are_refused_at_the_first_step(host, message):
    host = host()
    wrapped = CrossStageCriterion(host)
    before = attributes(host)
    with pytest.raises(UnsupportedHostError, match=message):
        wrapped(*random_case(0))
    assert attributes(host) == before


def test_outputs_without_logits_are_refused():
    with pytest.raises(
        UnsupportedHostError, match="none of pred_logits, logits, but scores, boxes"
    ):
        CrossStageCriterion(FocalHost())({"scores": 0, "boxes": 0}, [])


def test_an_unknown_normalizer_is_refused():
    with pytest.raises(ValueError, match="normalizer must be 'max' or 'host', got 'min'"):
        CrossStageCriterion(FocalHost(), normalizer="min")


SCRIPT = """
import pytest, torch, torch.distributed as dist
from integrations import reference
from integrations.checks import learnt, pairs_of, wanted_class_losses
from integrations.toy_hosts import FocalHost, random_case
from stageinteractor.assigner import CrossStageAssigner
from stageinteractor.integrations import CrossStageCriterion

dist.init_process_group("gloo")
rank, host, mixed = dist.get_rank(), FocalHost(), 0
for seed, counts in enumerate([(5, 3), (6, 0), (2, 8), (0, 0)]):
    outputs, targets = random_case(seed, counts=counts)
    rule = reference.Rule(0.7)

    def part(stage, image):
        return {key: stage[key][image : image + 1] for key in ("pred_logits", "pred_boxes")}

    def of_image(image):
        before = [part(stage, image) for stage in outputs["aux_outputs"]]
        return part(outputs, image) | {"aux_outputs": before}, targets[image : image + 1]

    losses = CrossStageCriterion(host, CrossStageAssigner(*rule))(*of_image(rank))
    # the number of objects is the average of both processes; so is the larger one of matches and
    # labels, of every process by itself
    matches = [[len(x[0]) for x in pairs_of(host, *of_image(image))] for image in (0, 1)]
    labels = [[len(x[0]) for x in learnt(host, *of_image(image), rule)] for image in (0, 1)]
    number = max(sum(counts) / 2, 1.0)
    wanted = wanted_class_losses(host, *of_image(rank), rule, number=number)
    for stage, name in enumerate(wanted):
        pairs = [(matches[image][stage], labels[image][stage]) for image in (0, 1)]
        factor = sum(max(pair) for pair in pairs) / max(sum(pair[0] for pair in pairs), 1)
        mixed += min(y - x for x, y in pairs) < 0 < max(y - x for x, y in pairs)
        value = wanted[name].item() / max(factor, 1.0)
        assert losses[name].item() == pytest.approx(value, rel=1e-6), (seed, name)
dist.destroy_process_group()
assert mixed, "no stage has more labels in one process and fewer in the other"
"""


@pytest.mark.slow
def test_two_processes_share_their_number_of_labels(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    paths = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [*command, str(tmp_path / "script.py")],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)},
    )
    assert done.returncode == 0, done.stderr
