"""The reference implementation of the criterion gives what ours gives."""

import pytest
import torch

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


def as_matches(pairs, shape):
    """Matches (S, B, N) as our matcher gives them."""
    matches = torch.full(shape, -1)
    for stage, images in enumerate(pairs):
        for image, (queries, found) in enumerate(images):
            matches[stage, image, queries] = found
    return matches


@objects
def test_matches_and_class_targets_are_equal(criterion, make_case, counts):
    logits, boxes, targets, sizes = make_case(12, counts)
    reference = ReferenceCriterion(criterion)
    pairs = reference.match(logits, boxes, targets, sizes)
    matches = criterion.matcher(logits, boxes, targets, sizes)
    assert torch.equal(as_matches(pairs, matches.shape), matches)
    wanted = criterion.assigner(boxes, matches, targets, 3)
    assert torch.equal(torch.stack(reference.class_targets(boxes, pairs, targets, 3)), wanted)
    assert (counts == (0, 0)) or wanted.sum() > (matches >= 0).sum()  # labels are gathered


@objects
def test_losses_and_their_gradients_are_equal(criterion, make_case, counts):
    logits, boxes, targets, sizes = make_case(12, counts)
    leaves = [logits.requires_grad_(), boxes.requires_grad_()]

    def run(side):
        losses = side(logits, boxes, targets, sizes)
        weighted = sum((1 + place) * losses[name] for place, name in enumerate(sorted(losses)))
        return losses, torch.autograd.grad(weighted, leaves)

    (found, gradients), (wanted, expected) = run(ReferenceCriterion(criterion)), run(criterion)
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-12)
    for gradient, value in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, value, rtol=1e-10, atol=1e-12)
