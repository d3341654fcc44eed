"""What every matching has to be, whatever boxes, logits and objects are."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import HALF, Case, cases
from tally import count_fault

from stageinteractor.assigner import HungarianMatcher
from stageinteractor.assigner.boxes import box_giou
from stageinteractor.assigner.targets import pad_targets


def costs_of(case: Case) -> torch.Tensor:
    """The costs (S, B, N, T) as the matcher computes them."""
    logits, boxes, targets, sizes = case.tensors()
    padded = pad_targets(targets, like=torch.empty(0, dtype=case.wide))
    return HungarianMatcher().costs(logits.to(case.wide), boxes.to(case.wide), padded, sizes)


def totals(costs: torch.Tensor, matches: torch.Tensor) -> torch.Tensor:
    """The cost of all matches of every stage and image (S, B)."""
    if costs.shape[-1] == 0:
        return costs.new_zeros(matches.shape[:2])
    each = costs.double().gather(3, matches.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return each.where(matches >= 0, 0).sum(dim=-1)


def assert_same_cost(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Two matchings are worth the same; with ties they may be different ones."""
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-4)


@given(cases())
def test_matching_is_one_to_one_and_complete(case: Case):
    matches = HungarianMatcher()(*case.tensors())
    assert matches.dtype == torch.long
    for stage in matches.tolist():
        for row, count in zip(stage, case.counts, strict=True):
            matched = [index for index in row if index >= 0]
            assert len(matched) == len(set(matched)) == min(case.queries, count)
            assert all(-1 <= index < count for index in row)


@given(cases(dtypes=(torch.float64,)))
def test_costs_are_the_sum_of_class_distance_and_overlap(case: Case):
    logits, boxes, targets, sizes = case.tensors()
    costs = costs_of(case)
    for image, target in enumerate(targets):
        size = sizes[image].flip(0).repeat(2)
        right = logits[:, image, :, target["labels"]].sigmoid()
        one, other = boxes[:, image, :, None], target["boxes"]
        expected = 2 * -0.25 * (1 - right) ** 2 * (right + 1e-12).log()
        expected += 2 * 0.75 * right**2 * (1 - right + 1e-12).log()
        expected += 5 * ((one - other) / size).abs().sum(dim=-1) - 2 * box_giou(one, other)
        actual = costs[:, image, :, : len(other)]
        torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-5)


@given(cases())
def test_no_other_matching_costs_less(case: Case):
    costs, matches = costs_of(case), HungarianMatcher()(*case.tensors())
    best, other = totals(costs, matches), totals(costs, case.matches())
    assert (best <= other + 1e-9 * other.abs()).all()


@given(cases())
def test_an_image_is_matched_as_if_it_were_alone(case: Case):
    logits, boxes, targets, sizes = case.tensors()
    together, costs = HungarianMatcher()(logits, boxes, targets, sizes), costs_of(case)
    for image in range(len(targets)):
        one = slice(image, image + 1)
        alone = HungarianMatcher()(logits[:, one], boxes[:, one], targets[one], sizes[one])
        assert_same_cost(totals(costs[:, one], alone), totals(costs[:, one], together[:, one]))


@given(cases())
def test_the_order_of_images_does_not_matter_to_the_cost(case: Case):
    logits, boxes, targets, sizes = case.tensors()
    order = case.permutation(len(targets))
    moved = [targets[index] for index in order]
    actual = HungarianMatcher()(logits[:, order], boxes[:, order], moved, sizes[order])
    costs, before = costs_of(case), HungarianMatcher()(logits, boxes, targets, sizes)
    assert_same_cost(totals(costs[:, order], actual), totals(costs, before)[:, order])


@given(cases())
def test_the_order_of_queries_does_not_matter_to_the_cost(case: Case):
    logits, boxes, targets, sizes = case.tensors()
    order = case.permutation(case.queries)
    actual = HungarianMatcher()(logits[:, :, order], boxes[:, :, order], targets, sizes)
    costs, before = costs_of(case), HungarianMatcher()(logits, boxes, targets, sizes)
    assert_same_cost(totals(costs[:, :, order], actual), totals(costs, before))


@given(cases())
def test_the_order_of_objects_does_not_matter_to_the_cost(case: Case):
    logits, boxes, targets, sizes = case.tensors()
    orders = [case.permutation(count) for count in case.counts]
    moved = [
        {name: value[order] for name, value in target.items()}
        for target, order in zip(targets, orders, strict=True)
    ]
    actual = HungarianMatcher()(logits, boxes, moved, sizes)
    for image, order in enumerate(orders):  # number k of now is number order[k] of before
        index = actual[:, image]
        if len(order):
            actual[:, image] = torch.where(index >= 0, order[index.clamp(min=0)], -1)
    costs, before = costs_of(case), HungarianMatcher()(logits, boxes, targets, sizes)
    assert_same_cost(totals(costs, actual), totals(costs, before))


@given(cases(kinds=["ordinary"], dtypes=(torch.float64,)))
def test_without_ties_pairs_do_not_depend_on_query_order(case: Case):
    assume(case.logit_kind == "normal")
    logits, boxes, targets, sizes = case.tensors()
    order = case.permutation(case.queries)
    actual = HungarianMatcher()(logits[:, :, order], boxes[:, :, order], targets, sizes)
    assert torch.equal(actual, HungarianMatcher()(logits, boxes, targets, sizes)[:, :, order])


@given(cases(dtypes=HALF))
def test_half_precision_is_matched_as_its_values_in_float32(case: Case):
    logits, boxes, targets, sizes = case.tensors()
    with torch.autocast("cpu", dtype=case.dtype):
        actual = HungarianMatcher()(logits, boxes, targets, sizes)
    assert torch.equal(actual, HungarianMatcher()(logits.float(), boxes.float(), targets, sizes))


@given(cases(), st.sampled_from([float("nan"), float("inf"), -float("inf")]), st.data())
def test_numbers_that_are_none_never_reach_the_solver(
    case: Case, value: float, data: st.DataObject
):
    logits, boxes, targets, sizes = case.tensors()
    images = [image for image, count in enumerate(case.counts) if count]
    assume(images)
    stage = data.draw(st.integers(0, case.stages - 1), "stage")
    image = data.draw(st.sampled_from(images), "image")
    query = data.draw(st.integers(0, case.queries - 1), "query")
    where = data.draw(st.sampled_from(["box", "logit", "object", "size"]), "where")
    if where == "box":
        boxes[stage, image, query, data.draw(st.integers(0, 3), "edge")] = value
    elif where == "logit":
        logits[stage, image, query, targets[image]["labels"][0]] = float("nan")
    elif where == "object":
        targets[image]["boxes"][0, data.draw(st.integers(0, 3), "edge")] = value
    else:
        sizes[image, data.draw(st.integers(0, 1), "side")] = float("nan")
    first = stage if where in ("box", "logit") else 0
    place = f"stage {first}, image {image} of the batch are not finite"
    with pytest.raises(FloatingPointError, match=place):
        HungarianMatcher()(logits, boxes, targets, sizes)
    count_fault("bad input")


@given(cases(), st.sampled_from([float("nan"), float("inf")]))
def test_images_without_objects_are_background(case: Case, value: float):
    logits, boxes, targets, sizes = case.tensors()
    empty = [{name: tensor[:0] for name, tensor in target.items()} for target in targets]
    logits[:], boxes[:] = value, value
    assert (HungarianMatcher()(logits, boxes, empty, sizes) == -1).all()
