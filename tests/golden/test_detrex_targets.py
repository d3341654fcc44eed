"""Matches, class targets and losses recorded from detrex; detrex itself is not needed."""

from pathlib import Path

import pytest
import torch
from integrations import reference
from integrations.checks import NEUTRAL, expected_class_losses, stages_of
from integrations.toy_hosts import FocalHost

from stageinteractor.assigner import CrossStageAssigner
from stageinteractor.integrations import CrossStageCriterion
from stageinteractor.integrations.host_pairs import SIDE, assign, to_matches

DATA = Path(__file__).parent / "data"
SETTINGS = {"threshold_own": False, "keep_own": True}
settings = pytest.mark.parametrize(("name", "keep_own"), SETTINGS.items(), ids=SETTINGS)


@pytest.fixture(scope="module")
def recorded():
    return torch.load(DATA / "synth_deformable.pt", weights_only=True)


def outputs_of(recorded):
    """The recorded outputs, with the recorded matches for a matcher that takes ready pairs."""
    stages = stages_of(recorded["outputs"], FocalHost)
    stages = [x | {"pairs": pairs} for x, pairs in zip(stages, recorded["matches"], strict=True)]
    return stages[-1] | {"aux_outputs": stages[:-1]}


def boxes_and_matches(recorded):
    stages = stages_of(recorded["outputs"], FocalHost)
    boxes = torch.stack([stage["pred_boxes"] for stage in stages])
    pairs = [pair for stage in recorded["matches"] for pair in stage]
    return boxes, to_matches([q for q, _ in pairs], [o for _, o in pairs], boxes.shape[:3])


def corners(boxes):
    low, size = boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., 2:]
    return torch.cat([low, low + size], dim=-1) * SIDE


@settings
def test_class_targets_are_the_recorded_ones(recorded, name, keep_own):
    boxes, matches = boxes_and_matches(recorded)
    targets = [{"boxes": corners(t["boxes"]), "labels": t["labels"]} for t in recorded["targets"]]
    assigner = CrossStageAssigner(keep_own_match=keep_own)
    actual = assigner(corners(boxes), matches, targets, 80)
    assert torch.equal(actual, recorded[name]["targets_multi_hot"].float())


@settings
def test_wrapper_assigns_the_recorded_classes(recorded, name, keep_own):
    boxes, matches = boxes_and_matches(recorded)
    assigner = CrossStageAssigner(keep_own_match=keep_own)
    queries, objects = assign(assigner, boxes, matches, recorded["targets"])
    actual = torch.zeros_like(recorded[name]["targets_multi_hot"])
    for stage, image, place, rank in (objects >= 0).nonzero().tolist():
        label = recorded["targets"][image]["labels"][objects[stage, image, place, rank]]
        actual[stage, image, queries[image, place], label] = 1
    assert torch.equal(actual, recorded[name]["targets_multi_hot"])


@settings
def test_slow_reference_has_recorded_targets_and_overlaps(recorded, name, keep_own):
    boxes, _ = boxes_and_matches(recorded)
    pairs = reference.to_lists(recorded["matches"])
    rule = reference.Rule(keep_own_match=keep_own)
    actual = reference.assigned(boxes, pairs, recorded["targets"], rule)
    targets, scores = reference.class_targets(actual, 40, 80)
    assert torch.equal(targets, recorded[name]["targets_multi_hot"].double())
    expected = recorded[name]["iou"].double() * targets
    torch.testing.assert_close(scores, expected, rtol=1e-5, atol=0)


def test_the_recording_has_queries_with_two_classes(recorded):
    for name in SETTINGS:
        assert (recorded[name]["targets_multi_hot"].sum(dim=-1) == 2).sum() >= 5


@settings
def test_class_losses_are_the_recorded_ones(recorded, name, keep_own):
    assigner = CrossStageAssigner(keep_own_match=keep_own)
    wrapped = CrossStageCriterion(FocalHost(80), assigner, normalizer="host")
    actual = wrapped(outputs_of(recorded), recorded["targets"])
    for key, value in actual.items():
        expected = recorded[name]["losses"][key].item()
        assert value.item() == pytest.approx(expected, rel=1e-6 if "class" in key else 1e-5), key


@settings
def test_the_slow_reference_has_the_recorded_class_losses(recorded, name, keep_own):
    rule = reference.Rule(keep_own_match=keep_own)
    actual = expected_class_losses(FocalHost(80), outputs_of(recorded), recorded["targets"], rule)
    for key, value in actual.items():
        assert value.item() == pytest.approx(recorded[name]["losses"][key].item(), rel=1e-6), key


def test_neutral_setting_has_the_recorded_losses(recorded):
    wrapped = CrossStageCriterion(FocalHost(80), **NEUTRAL)
    for key, value in wrapped(outputs_of(recorded), recorded["targets"]).items():
        assert value.item() == pytest.approx(recorded["unmodified"][key].item(), rel=1e-5), key
