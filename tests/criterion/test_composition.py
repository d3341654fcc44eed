"""Soft targets on labels of several stages equal a slow reference, whatever is composed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import stable_matching as slow
from reference.stable_matching import Rule
from strategies import Case, cases, examples

from stageinteractor.assigner import CrossStageAssigner, OneToOneAtLastStage
from stageinteractor.criterion import (
    ClassLoss,
    DistanceWeight,
    MatchedPairs,
    Power,
    RankDecay,
    RescalePerGt,
    RescalePerImage,
    ScoreWeight,
    SoftTarget,
)

SPEC = Rule(last_one_to_one=True, taus=(0.33, 0.33))
RULES = [
    Rule(exponent=1.0, per=None),
    Rule(keep_own_match=False, per="image", to="one"),
    Rule(per="image", to="best_iou"),
    Rule(per="object", to="one"),
    Rule(per="object", to="best_iou"),
    Rule(taus=(0.5, 0.33)),
    Rule(taus=(None, 0.33), threshold=0.1),
    SPEC,
]


def assigner_of(rule: Rule) -> CrossStageAssigner | OneToOneAtLastStage:
    assigner = CrossStageAssigner(rule.threshold, keep_own_match=rule.keep_own_match)
    return OneToOneAtLastStage(assigner) if rule.last_one_to_one else assigner


def target_of(rule: Rule) -> SoftTarget:
    scales = {"image": RescalePerImage, "object": RescalePerGt}
    return SoftTarget(
        Power(rule.exponent),
        rescale=scales[rule.per](rule.to) if rule.per else None,
        decay=RankDecay(rule.taus) if rule.taus else None,
    )


def loss_of(rule: Rule) -> ClassLoss:
    return ClassLoss(target_of(rule), DistanceWeight(0.25, 2.0), ScoreWeight(0.75, 2.0))


def crowded(seed: int):
    """Queries around few objects of few classes, so that labels, ranks and classes collide."""
    generator = torch.Generator().manual_seed(seed)
    counts, stages, queries, classes = (3, 0, 5), 4, 9, 3
    logits = torch.randn(stages, len(counts), queries, classes, generator=generator).double()
    targets, boxes, matches = [], [], []
    for count in counts:
        low = torch.rand(count, 2, generator=generator).double() * 15
        expected = torch.cat([low, low + 20], 1)
        labels = torch.randint(classes, (count,), generator=generator)
        targets.append({"boxes": expected, "labels": labels})
        near = torch.randint(max(count, 1), (stages, queries), generator=generator)
        start = expected[near] if count else torch.rand(stages, queries, 4).double()
        boxes.append(start + torch.randn(stages, queries, 4, generator=generator).double() * 2)
        actual = torch.full((stages, queries), -1)
        for stage in range(stages):
            chosen = torch.randperm(queries, generator=generator)[:count]
            actual[stage, chosen] = torch.arange(count)
        matches.append(actual)
    return logits, torch.stack(boxes, 1), torch.stack(matches, 1), targets


def actual_targets(rule: Rule, boxes, matches, targets, logits) -> torch.Tensor:
    """Targets (S, B, N, C) of the package, -1 without a label."""
    objects = assigner_of(rule).assigned_gt_indices(boxes, matches, targets)
    positives = MatchedPairs(objects, boxes, matches, targets)
    values = target_of(rule)(positives, torch.full_like(positives.iou, 0.5))
    result = torch.full(logits.shape, -1.0, dtype=values.dtype)
    for s, b, q, r in positives.valid.nonzero().tolist():
        result[s, b, q, positives.labels[s, b, q, r]] = values[s, b, q, r]
    return result


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("seed", range(5))
def test_targets_of_crowded_objects_equal_the_slow_reference(rule: Rule, seed: int):
    logits, boxes, matches, targets = crowded(seed)
    expected = slow.soft_targets(rule, boxes, matches, targets, logits.shape[-1])
    assert ((expected >= 0).any(-1) & (matches < 0)).any()  # labels of other stages
    actual = actual_targets(rule, boxes, matches, targets, logits)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)
    losses = loss_of(rule).entries(
        logits,
        MatchedPairs(
            assigner_of(rule).assigned_gt_indices(boxes, matches, targets), boxes, matches, targets
        ),
    )
    torch.testing.assert_close(losses.sum(dim=(1, 2, 3)), slow.class_loss(logits, expected))


@examples(0.5)
@given(cases(dtypes=(torch.float64,)), st.sampled_from(RULES))
def test_targets_of_odd_cases_equal_the_slow_reference(case: Case, rule: Rule):
    logits, boxes, targets, _ = case.tensors()
    matches = case.matches()
    actual = actual_targets(rule, boxes, matches, targets, logits)
    assert ((actual == -1) | (actual >= 0) & (actual <= 1)).all()
    if rule.taus:  # which of equal boxes comes first is no matter of the rule
        fits = actual_targets(rule._replace(taus=()), boxes, matches, targets, logits)
        assert (actual <= fits).all()
        return
    expected = slow.soft_targets(rule, boxes, matches, targets, case.classes)
    torch.testing.assert_close(actual, expected, rtol=1e-7, atol=1e-9)
