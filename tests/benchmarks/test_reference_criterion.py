"""The reference implementation of the criterion gives what ours gives."""

import pytest
import torch
from reference.losses import as_matches

from benchmarks.reference_criterion import ReferenceCriterion
from stageinteractor.assigner import CrossStageAssigner, HungarianMatcher
from stageinteractor.criterion import FocalLoss, SetCriterion

COUNTS = {
    "objects in both images": (5, 3),
    "an image without objects": (4, 0),
    "more objects than queries": (20, 2),
    "no objects at all": (0, 0),
}
objects = pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)


@pytest.fixture
def criterion() -> SetCriterion:
    return SetCriterion(HungarianMatcher(), CrossStageAssigner(), FocalLoss())


@objects
def test_matches_and_class_targets_are_equal(criterion, make_case, counts):
    logits, boxes, targets, sizes = make_case(12, counts)
    reference = ReferenceCriterion(criterion)
    pairs = reference.match(logits, boxes, targets, sizes)
    matches = criterion.matcher(logits, boxes, targets, sizes)
    assert torch.equal(as_matches(pairs, matches.shape), matches)
    expected = criterion.assigner(boxes, matches, targets, 3)
    assert torch.equal(torch.stack(reference.class_targets(boxes, pairs, targets, 3)), expected)
    assert (counts == (0, 0)) or expected.sum() > (matches >= 0).sum()  # labels are gathered


@objects
def test_losses_and_their_gradients_are_equal(criterion, make_case, counts):
    logits, boxes, targets, sizes = make_case(12, counts)
    leaves = [logits.requires_grad_(), boxes.requires_grad_()]

    def run(side):
        losses = side(logits, boxes, targets, sizes)
        weighted = sum((1 + place) * losses[name] for place, name in enumerate(sorted(losses)))
        return losses, torch.autograd.grad(weighted, leaves)

    (actual, gradients), (expected, expected_gradients) = (
        run(ReferenceCriterion(criterion)),
        run(criterion),
    )
    assert set(actual) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=1e-10, atol=1e-12)
    for gradient, value in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, value, rtol=1e-10, atol=1e-12)
