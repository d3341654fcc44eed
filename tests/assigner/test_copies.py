import itertools

import numpy as np
import pytest
import torch

from stageinteractor.assigner import CopiesMatcher, HungarianMatcher
from stageinteractor.assigner.targets import pad_targets


def random_case(seed: int, stages: int, queries: int, counts: tuple[int, ...]):
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(stages, len(counts), queries, 4, generator=generator) * 50
    boxes[..., 2:] += boxes[..., :2]
    targets = []
    for count in counts:
        gt = torch.rand(count, 4, generator=generator) * 50
        gt[:, 2:] += gt[:, :2]
        targets.append({"boxes": gt, "labels": torch.randint(3, (count,), generator=generator)})
    logits = torch.randn(stages, len(counts), queries, 3, generator=generator)
    return logits, boxes, targets, torch.full((len(counts), 2), 100.0)


def cheapest(cost: np.ndarray, copies: int) -> float:
    """The minimum cost of giving every box ``copies`` queries, over all permutations."""
    queries, boxes = cost.shape
    return min(
        sum(cost[query, index % boxes] for index, query in enumerate(chosen))
        for chosen in itertools.permutations(range(queries), boxes * copies)
    )


@pytest.mark.parametrize("seed", range(3))
def test_two_copies_cost_the_minimum_over_all_permutations(seed: int):
    logits, boxes, targets, sizes = random_case(seed, 2, 5, (2,))
    matcher = CopiesMatcher(copies=2)
    matches = matcher(logits, boxes, targets, sizes)
    costs = matcher.costs(logits, boxes, pad_targets(targets, like=boxes), sizes).numpy()
    for stage, copies in enumerate([2, 1]):
        match = matches[stage, 0]
        assert match[match >= 0].bincount(minlength=2).tolist() == [copies, copies]
        total = sum(costs[stage, 0, q, t] for q, t in enumerate(match.tolist()) if t >= 0)
        assert total == pytest.approx(cheapest(costs[stage, 0], copies), rel=1e-5)


def test_one_copy_is_the_hungarian_matching():
    case = random_case(0, 3, 6, (4, 0, 2))
    expected = HungarianMatcher()(*case)
    assert torch.equal(CopiesMatcher(copies=1)(*case), expected)
    assert torch.equal(CopiesMatcher(copies=3)(*case)[-1], expected[-1])


def test_the_only_stage_is_the_last():
    case = random_case(0, 1, 6, (2,))
    assert torch.equal(CopiesMatcher(copies=3)(*case), HungarianMatcher()(*case))


@pytest.mark.parametrize(
    ("queries", "expected"),
    [(7, 2), (6, 2), (5, 1), (3, 1)],  # of 3 boxes
)
def test_copies_are_fewer_where_queries_are_short(queries: int, expected: int):
    matches = CopiesMatcher(copies=4, last_copies=4)(*random_case(0, 2, queries, (3,)))
    for match in matches[:, 0]:
        assert match[match >= 0].bincount(minlength=3).tolist() == [expected] * 3


def test_more_boxes_than_queries_match_every_query_once():
    matches = CopiesMatcher(copies=2)(*random_case(0, 2, 3, (5,)))
    for match in matches[:, 0]:
        assert len(set(match.tolist())) == 3
        assert (match >= 0).all()


def test_padded_queries_have_no_copies():
    mask = torch.tensor([[True, False, True, True, False, True]])
    matches = CopiesMatcher(copies=2)(*random_case(0, 2, 6, (2,)), mask)
    assert (matches[0, 0] >= 0).tolist() == mask[0].tolist()


def test_images_without_boxes_have_no_matches():
    assert (CopiesMatcher()(*random_case(0, 2, 3, (0, 0))) == -1).all()


@pytest.mark.parametrize("arguments", [{"copies": 0}, {"last_copies": 0}])
def test_fewer_than_one_copy_is_refused(arguments: dict[str, int]):
    with pytest.raises(ValueError, match="last_copies"):
        CopiesMatcher(**arguments)
