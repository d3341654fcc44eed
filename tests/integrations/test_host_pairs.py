import pytest
import torch
from integrations import reference
from integrations.checks import stages_of
from integrations.toy_hosts import FocalHost, random_case

from stageinteractor.assigner import CrossStageAssigner
from stageinteractor.errors import UnsupportedHostError
from stageinteractor.integrations.host_pairs import (
    active_queries,
    assign,
    in_one_copy,
    to_host,
    to_matches,
    to_pairs,
)


def index(*numbers: int) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.long)


def lists(pairs):
    return [[[tuple(x.tolist()) for x in image] for image in stage] for stage in pairs]


def test_pairs_become_matches():
    # stage 0: image 0 and 1, stage 1: image 0 and 1
    queries = [index(2, 0), index(), index(1), index(0, 1, 2)]
    objects = [index(0, 1), index(), index(1), index(2, 0, 1)]
    assert to_matches(queries, objects, (2, 2, 3)).tolist() == [
        [[1, -1, 0], [-1, -1, -1]],
        [[-1, 1, -1], [2, 0, 1]],
    ]


def test_a_query_with_several_objects_is_refused():
    queries, objects = [index(0), index(1, 1)], [index(0), index(0, 1)]
    with pytest.raises(UnsupportedHostError, match="several ground-truth boxes"):
        to_matches(queries, objects, (2, 1, 3))


def test_active_queries_are_those_matched_at_any_stage():
    matches = torch.tensor([[[-1, 0, -1, -1], [-1, -1, -1, 0]], [[-1, -1, -1, 0], [-1, -1, -1, 0]]])
    actual = active_queries(matches)
    assert actual.shape == (2, 2)
    assert actual[0].tolist() == [1, 3]
    assert actual[1, 0].item() == 3
    assert (matches[:, 1, actual[1, 1]] == -1).all()  # filled up by one without a match


# Three objects of the classes 0, 1, 2 in one image: A, next to it B, and C over most of A.
BOXES = torch.tensor([[0.25, 0.25, 0.2, 0.2], [0.75, 0.25, 0.2, 0.2], [0.25, 0.25, 0.2, 0.16]])
TARGETS = [{"boxes": BOXES, "labels": torch.tensor([0, 1, 2])}]
A, B, C = 0, 1, 2


@pytest.mark.parametrize("size", [1e-4, 1e-3, 1e-2])
def test_the_overlap_of_small_boxes_is_that_of_large_ones(size):
    # an intersection over union of .6, of boxes of a ten-thousandth of the image's side
    known = torch.tensor([[0.5, 0.5, size, size]])
    predicted = torch.tensor([0.5, 0.5, size, 0.6 * size]).expand(1, 1, 1, 4)
    targets = [{"boxes": known, "labels": torch.tensor([0])}]
    for threshold, expected in ((0.59, 0), (0.61, -1)):
        _, objects = assign(CrossStageAssigner(threshold), predicted, index(0)[None, None], targets)
        assert objects.flatten().tolist() == [expected]


@pytest.mark.parametrize("seed", range(10))
def test_pairs_are_those_of_plain_loops(seed):
    outputs, targets = random_case(seed, counts=(6, 0, 3), stages=5)
    stages, host = stages_of(outputs, FocalHost), FocalHost()
    own = [host.matcher(stage, targets) for stage in stages]
    boxes = torch.stack([stage["pred_boxes"] for stage in stages])
    flat = [pair for stage in own for pair in stage]
    matches = to_matches([q for q, _ in flat], [o for _, o in flat], boxes.shape[:3])
    actual = to_pairs(*assign(CrossStageAssigner(), boxes, matches, targets))
    expected = reference.assigned(boxes, reference.to_lists(own), targets, reference.Rule())
    for stage, images in enumerate(expected):
        for image, entries in enumerate(images):
            pairs = [
                pair
                for rank in actual
                for pair in zip(*(x.tolist() for x in rank[stage][image]), strict=True)
            ]
            assert sorted(pairs) == sorted((q, index) for (q, _), (_, index) in entries.items())
            for rank in actual:
                named = rank[stage][image][0].tolist()
                assert len(set(named)) == len(named)


def various_tensors(device: str = "cpu") -> list[torch.Tensor]:
    numbers = torch.tensor([[0.1, 2.0, -3.0]], dtype=torch.float64)
    return [numbers.to(device), index(1, 2**24 - 1), torch.zeros(0, 4, device=device)]


@pytest.mark.parametrize("wide", [True, False])
def test_one_copy_keeps_shapes_types_and_values(wide):
    tensors = various_tensors()[0 if wide else 1 :]  # without float64 all go as float32
    actual = in_one_copy(tensors, torch.device("cpu"))
    assert len(actual) == len(tensors)
    for one, other in zip(actual, tensors, strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape
        assert torch.equal(one, other)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_tensors_on_a_gpu_come_to_the_host():
    actual = to_host(various_tensors("cuda"))
    assert all(torch.equal(x, y) for x, y in zip(actual, various_tensors(), strict=True))
    assert [x.dtype for x in actual] == [torch.float64, torch.long, torch.float32]
