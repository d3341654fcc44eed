"""detrex's own criteria with the assigner, against the slow reference and the recordings."""

import copy
import importlib
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from integrations import detrex_host, toy_hosts
from integrations.checks import (
    NEUTRAL,
    assert_all_equal,
    assert_only_class_losses_changed,
    expected_class_losses,
)
from integrations.reference import Rule
from integrations.toy_hosts import random_case

from stageinteractor.assigner import CrossStageAssigner
from stageinteractor.errors import UnsupportedHostError
from stageinteractor.integrations.detrex import CrossStageCriterion

pytestmark = pytest.mark.detrex
DATA = Path(__file__).parents[1] / "golden/data"
GROUPS = 3


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> None:
    detrex_host.arrange()
    detrex_host.stay_on_cpu(monkeypatch)


class Kind(NamedTuple):
    """A criterion of detrex: where it is, its settings, and what its outputs have besides."""

    path: str
    settings: dict = {}
    extras: tuple[str, ...] = ()


CRITERIA = {
    "base, focal": Kind("detrex.modeling.SetCriterion"),
    "base, softmax": Kind("detrex.modeling.SetCriterion", {"loss_class_type": "ce_loss"}),
    "deformable": Kind("projects.deformable_detr.modeling.DeformableCriterion"),
    "deformable, two stages": Kind(
        "projects.deformable_detr.modeling.DeformableCriterion", extras=("encoder",)
    ),
    "h-deformable": Kind("projects.h_deformable_detr.modeling.DeformableCriterion"),
    "dab-deformable": Kind("projects.dab_deformable_detr.modeling.TwoStageCriterion"),
    "dab-deformable, two stages": Kind(
        "projects.dab_deformable_detr.modeling.TwoStageCriterion", extras=("encoder",)
    ),
    "two stages": Kind(
        "projects.dino.modeling.two_stage_criterion.TwoStageCriterion", extras=("encoder",)
    ),
    "two stages, one class in the first": Kind(
        "projects.dino.modeling.two_stage_criterion.TwoStageCriterion",
        {"two_stage_binary_cls": True},
        ("encoder",),
    ),
    "dino": Kind("projects.dino.modeling.DINOCriterion", extras=("encoder", "dino denoising")),
    "dino without denoising": Kind(
        "projects.dino.modeling.DINOCriterion", extras=("encoder", "dino nothing")
    ),
    "dn": Kind("projects.dn_detr.modeling.DNCriterion", extras=("dn denoising",)),
    "dn without denoising": Kind("projects.dn_detr.modeling.DNCriterion"),
    "group": Kind("projects.group_detr.modeling.GroupSetCriterion", {"group_nums": GROUPS}),
    "deta with one match an object": Kind(
        "projects.deta.modeling.DETACriterion", extras=("encoder",)
    ),
}
criteria = pytest.mark.parametrize("kind", CRITERIA.values(), ids=CRITERIA)


def locate(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def build(kind, num_classes=4):
    softmax = kind.settings.get("loss_class_type") == "ce_loss"
    if "group_nums" in kind.settings:
        matcher = locate("projects.group_detr.modeling.GroupHungarianMatcher")(2.0, 5.0, 2.0)
    else:
        cost = "ce_cost" if softmax else "focal_loss_cost"
        matcher = locate("detrex.modeling.HungarianMatcher")(2.0, 5.0, 2.0, cost)
    weights = {"loss_class": 1.0, "loss_bbox": 5.0, "loss_giou": 2.0}
    settings = {"eos_coef": 0.1} if softmax else {}
    return locate(kind.path)(
        num_classes=num_classes, matcher=matcher, weight_dict=weights, **settings, **kind.settings
    )


def case_of(kind, seed=0, counts=(5, 3, 0)):
    """Outputs, targets and further arguments of a criterion's call."""
    host = toy_hosts.SoftmaxHost if kind.settings.get("loss_class_type") else toy_hosts.FocalHost
    groups = kind.settings.get("group_nums", 1)
    outputs, targets = random_case(seed, host, counts=counts, queries=8 * groups)
    further = []
    if "encoder" in kind.extras:
        proposals, _ = random_case(seed + 100, counts=counts, stages=1, queries=30)
        outputs["enc_outputs"] = {k: proposals[k] for k in ("pred_logits", "pred_boxes")}
    most = max(counts)
    noisy, _ = random_case(seed + 200, counts=counts, queries=max(2 * 2 * most, 1))
    if "dino denoising" in kind.extras:
        further.append({"output_known_lbs_bboxes": noisy, "dn_num": 2, "single_padding": 2 * most})
    if "dino nothing" in kind.extras:
        further.append(None)
    if "dn denoising" in kind.extras:
        outputs |= {"denoising_output": noisy, "denoising_groups": 2, "max_gt_num_per_image": most}
    return outputs, targets, *further


def call(criterion, outputs, targets, *further):
    """Some criteria write into their targets."""
    return criterion(outputs, copy.deepcopy(targets), *further)


def expected_of(kind, outputs, targets, rule, normalizer):
    if "group_nums" not in kind.settings:
        return expected_class_losses(build(kind), outputs, targets, rule, normalizer)
    number = max(sum(len(target["labels"]) for target in targets), 1) * GROUPS
    arguments = build(kind), outputs, targets, rule, normalizer
    return expected_class_losses(*arguments, number=number, group_nums=GROUPS)


@criteria
@pytest.mark.parametrize("counts", [(5, 3, 0), (9, 2), (0, 0)])
def test_the_neutral_setting_changes_no_bit(kind, counts):
    arguments = case_of(kind, counts=counts)
    wrapped = CrossStageCriterion(build(kind), **NEUTRAL)
    assert_all_equal(call(wrapped, *arguments), call(build(kind), *arguments))


@criteria
@pytest.mark.parametrize("normalizer", ["host", "max"])
@pytest.mark.parametrize("rule", [Rule(), Rule(keep_own_match=True), Rule(0.6, (None, None))])
def test_only_class_losses_change_to_the_reference(kind, rule, normalizer):
    wrapped = CrossStageCriterion(build(kind), CrossStageAssigner(*rule), normalizer)
    for seed, counts in enumerate([(5, 3, 0), (6, 6)]):
        arguments = case_of(kind, seed, counts)
        expected = expected_of(kind, *arguments[:2], rule, normalizer)
        plain = call(build(kind), *arguments)
        assert_only_class_losses_changed(call(wrapped, *arguments), plain, expected)
        assert any(plain[key].item() != pytest.approx(expected[key].item()) for key in expected)


@criteria
def test_gradients_are_finite_and_those_of_the_reference(kind):
    arguments = case_of(kind)
    (actual, ours), (expected, theirs) = (toy_hosts.with_gradients(arguments[0]) for _ in range(2))
    losses = call(CrossStageCriterion(build(kind)), actual, *arguments[1:])
    reference = expected_of(kind, expected, arguments[1], Rule(), "max")
    sum(losses[key] for key in reference).backward()
    sum(reference.values()).backward()
    for x, y in zip(ours, theirs, strict=True):
        assert x.grad.isfinite().all()
        torch.testing.assert_close(x.grad, y.grad, rtol=1e-4, atol=1e-7)


def test_the_criterion_of_clips_is_refused_with_the_reason():
    with detrex_host.stand_ins():
        co_mot = importlib.import_module("projects.co_mot.modeling")
    matcher = co_mot.MOTHungarianMatcherGroup(2.0, 5.0, 2.0)
    criterion = co_mot.MOTClipMatcher(num_classes=1, matcher=matcher, weight_dict={})
    with pytest.raises(UnsupportedHostError, match="ClipMatcher.*frames of a clip"):
        CrossStageCriterion(criterion)


# The recordings.


@pytest.fixture(scope="module")
def synthetic():
    return torch.load(DATA / "synth_deformable.pt", weights_only=True)


def test_the_recorded_losses_of_the_unchanged_criterion(synthetic):
    criterion = build(CRITERIA["deformable"], 80)
    for each in (criterion, CrossStageCriterion(criterion, **NEUTRAL)):
        assert_all_equal(each(synthetic["outputs"], synthetic["targets"]), synthetic["unmodified"])


@pytest.mark.parametrize(("name", "keep_own"), [("threshold_own", False), ("keep_own", True)])
def test_the_recorded_losses_of_the_assigner(synthetic, name, keep_own):
    criterion = build(CRITERIA["deformable"], 80)
    wrapped = CrossStageCriterion(criterion, CrossStageAssigner(keep_own_match=keep_own), "host")
    expected = synthetic[name]["losses"]
    expected_classes = {f"loss_class{suffix}" for suffix in ("", "_0", "_1", "_2", "_3", "_4")}
    actual = wrapped(synthetic["outputs"], synthetic["targets"])
    changed = {key: expected[key] for key in expected_classes}
    assert_only_class_losses_changed(actual, expected, changed)


def test_the_recorded_losses_of_a_real_model():
    recorded = torch.load(DATA / "deformable_detr.pt", weights_only=True)
    criterion = build(CRITERIA["deformable"], 80)
    outputs, targets = recorded["outputs"], recorded["targets"]
    actual = CrossStageCriterion(criterion, **NEUTRAL)(outputs, targets)
    assert_all_equal(actual, recorded["raw_losses"])
    expected = expected_class_losses(criterion, outputs, targets, Rule(0.1), "max")
    actual = CrossStageCriterion(criterion, CrossStageAssigner(0.1))(outputs, targets)
    assert_only_class_losses_changed(actual, recorded["raw_losses"], expected)
