"""Matchers of the package on criteria of the DETR form, against plain loops."""

import pytest
import torch
from integrations.checks import (
    assert_all_equal,
    assert_only_class_losses_changed,
    expected_class_losses,
)
from integrations.reference import Rule
from integrations.toy_hosts import FocalHost, OtherNamesHost, VarifocalHost, random_case

from stageinteractor.assigner import (
    CopiesMatcher,
    CrossStageAssigner,
    HungarianMatcher,
    PerStageAssigner,
    QualityTopKMatcher,
    WarmupCrossStageAssigner,
)
from stageinteractor.assigner.boxes import cxcywh_to_xyxy
from stageinteractor.integrations import AdaptedMatcher, CrossStageCriterion

hosts = pytest.mark.parametrize("host", [FocalHost, VarifocalHost, OtherNamesHost])
matchers = pytest.mark.parametrize("matcher", [QualityTopKMatcher(k=3), CopiesMatcher(2, 5, 2)])


@hosts
@matchers
def test_per_stage_labels_have_the_hosts_losses_of_these_pairs(host, matcher):
    arguments = random_case(host=host)
    matcher = AdaptedMatcher(matcher)
    wrapped = CrossStageCriterion(host(), PerStageAssigner(), "host", matcher=matcher)
    assert_all_equal(wrapped(*arguments), host(matcher=matcher)(*arguments))


@hosts
@matchers
def test_one_to_many_pairs_are_gathered_across_stages(host, matcher):
    outputs, targets = random_case(host=host)
    matcher = AdaptedMatcher(matcher)
    wrapped = CrossStageCriterion(host(), CrossStageAssigner(0.6), "host", matcher=matcher)
    plain = host(matcher=matcher)
    assert_only_class_losses_changed(
        wrapped(outputs, targets),
        plain(outputs, targets),
        expected_class_losses(plain, outputs, targets, Rule(0.6)),
    )


def test_pairs_are_the_matches_of_boxes_in_pixels():
    outputs, targets = random_case()
    pairs = AdaptedMatcher(HungarianMatcher())(outputs, targets)
    logits, boxes = outputs["pred_logits"], cxcywh_to_xyxy(outputs["pred_boxes"]) * 1024
    gt = [{"boxes": cxcywh_to_xyxy(t["boxes"]) * 1024, "labels": t["labels"]} for t in targets]
    sizes = torch.full((len(gt), 2), 1024.0)
    matches = HungarianMatcher()(logits[None], boxes[None], gt, sizes)[0]
    for match, (queries, indices) in zip(matches, pairs, strict=True):
        assert queries.tolist() == [q for q, index in enumerate(match.tolist()) if index >= 0]
        assert match[queries].tolist() == indices.tolist()


def test_wrapped_criterion_counts_training_steps():
    arguments = random_case()
    assigner = WarmupCrossStageAssigner(warmup_steps=4)
    wrapped = CrossStageCriterion(FocalHost(), assigner)
    wrapped(*arguments)
    wrapped.eval()(*arguments)
    assert int(wrapped.state_dict()["assigner.steps"]) == 1
