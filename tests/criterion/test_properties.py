"""What losses have to be, whatever predictions and objects are."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from strategies import Case, cases
from torch import Tensor

from stageinteractor.assigner import CrossStageAssigner, HungarianMatcher
from stageinteractor.assigner.boxes import box_giou
from stageinteractor.criterion import FocalLoss, SetCriterion
from stageinteractor.criterion.set_criterion import box_losses

FULL = (torch.float32, torch.float64)


def criterion(matches: Tensor | None = None) -> SetCriterion:
    """A criterion; with matches: one that takes these, for ties have several best matchings."""
    matcher: Callable[..., Tensor] = HungarianMatcher() if matches is None else lambda *_: matches
    return SetCriterion(matcher, CrossStageAssigner(), FocalLoss())


def assert_close(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(actual) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=1e-4, atol=1e-5, msg=name)


@given(cases())
def test_losses_and_gradients_of_finite_predictions_are_finite(case: Case):
    logits, boxes, targets, sizes = case.tensors()
    logits, boxes = logits.requires_grad_(), boxes.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = criterion()(logits, boxes, targets, sizes)
    assert len(losses) == 3 * case.stages
    for name, value in losses.items():
        assert value.dtype == case.wide and value.shape == (), name
        assert torch.isfinite(value) and value >= 0, name
    sum(losses.values()).backward()
    # in float16 an L1 loss over an image of one pixel may have a gradient beyond its range
    assert torch.isfinite(logits.grad).all() and not boxes.grad.isnan().any()
    assert torch.isfinite(boxes.grad).all() or case.dtype == torch.float16


@given(cases(dtypes=(torch.float64,)))
def test_box_losses_are_those_of_plain_loops(case: Case):
    _, boxes, targets, sizes = case.tensors()
    matches = case.matches()
    l1, giou = box_losses(boxes, matches, targets, sizes)
    for stage in range(case.stages):
        distances, misfits = [0.0], [0.0]
        for image, query in (matches[stage] >= 0).nonzero().tolist():
            one = boxes[stage, image, query]
            other = targets[image]["boxes"][matches[stage, image, query]]
            height, width = case.sizes[image]
            apart = (one - other).abs().tolist()
            distances.append((apart[0] + apart[2]) / width + (apart[1] + apart[3]) / height)
            misfits.append(1 - box_giou(one, other).item())
        assert l1[stage].item() == pytest.approx(sum(distances), rel=1e-6, abs=1e-6)
        assert giou[stage].item() == pytest.approx(sum(misfits), rel=1e-6, abs=1e-6)


@given(cases(dtypes=FULL))
def test_only_matched_boxes_are_moved(case: Case):
    logits, boxes, targets, sizes = case.tensors()
    boxes.requires_grad_()
    sum(criterion(case.matches())(logits, boxes, targets, sizes).values()).backward()
    assert (boxes.grad[case.matches() < 0] == 0).all()


@given(cases(dtypes=FULL), st.sampled_from([float("nan"), float("inf"), -1e30, 0.0]))
def test_boxes_without_a_match_do_not_change_the_box_losses(case: Case, value: float):
    _, boxes, targets, sizes = case.tensors()
    before = box_losses(boxes, case.matches(), targets, sizes)
    boxes[case.matches() < 0] = value
    for actual, expected in zip(
        box_losses(boxes, case.matches(), targets, sizes), before, strict=True
    ):
        assert torch.equal(actual, expected)


@given(cases(dtypes=FULL))
def test_without_any_match_the_box_losses_are_zero(case: Case):
    logits, boxes, targets, sizes = case.tensors()
    losses = criterion(torch.full_like(case.matches(), -1))(logits, boxes, targets, sizes)
    assert all(value == 0 for name, value in losses.items() if "class" not in name)


@given(cases(kinds=["ordinary", "whole", "same", "outside", "huge", "pixel"], dtypes=FULL))
def test_boxes_that_fit_have_no_box_loss(case: Case):
    _, boxes, targets, sizes = case.tensors()
    matches = case.matches()
    for stage, image, query in (matches >= 0).nonzero().tolist():
        index = matches[stage, image, query]
        boxes[stage, image, query] = targets[image]["boxes"][index]
    for losses in box_losses(boxes, matches, targets, sizes):
        assert (losses.abs() < 1e-5).all()


@given(cases(dtypes=FULL))
def test_the_order_of_images_and_queries_does_not_matter(case: Case):
    logits, boxes, targets, sizes = case.tensors()
    images, queries, matches = (
        case.permutation(len(targets)),
        case.permutation(case.queries),
        case.matches(),
    )
    logits_, boxes_, matches_ = (x[:, images][:, :, queries] for x in (logits, boxes, matches))
    moved = [targets[index] for index in images]
    actual = criterion(matches_)(logits_, boxes_, moved, sizes[images])
    assert_close(actual, criterion(matches)(logits, boxes, targets, sizes))


@given(cases(dtypes=FULL))
def test_losses_of_a_batch_are_the_sums_of_its_images(case: Case):
    """Whatever else is in the batch, and however many objects the others are padded to."""
    logits, boxes, targets, sizes = case.tensors()
    actual = sums(case.matches(), logits, boxes, targets, sizes)
    expected: dict[str, Tensor] = {}
    for image in range(len(targets)):
        one = slice(image, image + 1)
        parts = sums(
            case.matches()[:, one], logits[:, one], boxes[:, one], targets[one], sizes[one]
        )
        expected = {name: value + expected.get(name, 0) for name, value in parts.items()}
    assert_close(actual, expected)


def sums(
    matches: Tensor, logits: Tensor, boxes: Tensor, targets: list[dict[str, Tensor]], sizes: Tensor
) -> dict[str, Tensor]:
    """The losses before they are divided by the numbers of matches and labels."""
    labels = CrossStageAssigner()(boxes, matches, targets, logits.shape[-1]).sum(dim=(1, 2, 3))
    pairs = (matches >= 0).sum(dim=(1, 2))
    losses = criterion(matches)(logits, boxes, targets, sizes)
    return {
        name: value * max(1, pairs[int(name[-1])], labels[int(name[-1])] if "class" in name else 0)
        for name, value in losses.items()
    }


@given(cases(), st.sampled_from([0.0, 1.0, 2.0, 5.0]), st.sampled_from([0.0, 0.25, 1.0]))
def test_class_loss_is_the_formula_with_finite_gradient(case: Case, gamma: float, alpha: float):
    logits = case.tensors()[0].to(case.wide).requires_grad_()
    generator = torch.Generator().manual_seed(case.seed)
    positive = torch.rand(logits.shape, generator=generator) < 0.5
    actual = FocalLoss(alpha, gamma).entries(logits, positive.to(logits))
    entropy = F.binary_cross_entropy_with_logits(
        logits.double(), positive.double(), reduction="none"
    )
    wrong = torch.where(positive, -logits.double(), logits.double()).sigmoid()
    weight = torch.where(positive, alpha, 1 - alpha)
    torch.testing.assert_close(
        actual.double(), weight * wrong**gamma * entropy, rtol=1e-4, atol=1e-7
    )
    actual.sum().backward()
    assert torch.isfinite(logits.grad).all()


@given(cases(dtypes=FULL), st.data())
def test_a_logit_that_is_no_number_is_never_unnoticed(case: Case, data: st.DataObject):
    logits, boxes, targets, sizes = case.tensors()
    place = tuple(data.draw(st.integers(0, size - 1)) for size in logits.shape)
    logits[place] = float("nan")
    try:
        losses = criterion()(logits, boxes, targets, sizes)
    except FloatingPointError as error:
        assert f"stage {place[0]}, image {place[1]} " in str(error)
    else:
        assert losses[f"loss_class_{place[0]}"].isnan()
