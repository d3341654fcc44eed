"""Noisy copies of ground-truth boxes: how many, where, and which queries see them."""

import pytest
import torch
from torch import Tensor

from stageinteractor.modeling.queries import DenoisingQueries
from stageinteractor.modeling.queries.denoising import DenoisingBoxes

SIZES = torch.tensor([[200.0, 400.0], [100.0, 100.0]])


def objects(*images: list[list[float]]) -> list[dict[str, Tensor]]:
    return [
        {"boxes": torch.tensor(boxes).view(-1, 4), "labels": torch.zeros(len(boxes)).long()}
        for boxes in images
    ]


ONE = [100.0, 50, 140, 70]  # 40 x 20 about (120, 60)
TWO = [10.0, 10, 60, 90]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_as_many_groups_as_fit():
    actual = DenoisingQueries(num_queries=7)(objects([ONE, TWO], [TWO]), SIZES)
    # 7 // 2 = 3 groups of 2; 7 of the second image's one object
    assert actual.boxes.shape == (2, 7, 4)
    assert actual.gt_indices.tolist() == [[0, 1, 0, 1, 0, 1, -1], [0] * 7]
    assert actual.groups.tolist() == [[0, 0, 1, 1, 2, 2, 3], list(range(7))]


def test_more_objects_than_queries_form_one_group():
    actual = DenoisingQueries(num_queries=2)(objects([ONE, TWO, ONE], []), SIZES)
    assert actual.gt_indices.tolist() == [[0, 1, 2], [-1, -1, -1]]
    assert actual.groups[0].tolist() == [0, 0, 0]


def test_without_noise_copies_are_the_objects():
    actual = DenoisingQueries(num_queries=4, box_noise=0.0)(objects([ONE, TWO], [TWO]), SIZES)
    assert actual.boxes.tolist() == [[ONE, TWO] * 2, [TWO] * 4]
    actual = DenoisingQueries(num_queries=3, box_noise=0.0)(objects([ONE, TWO], [TWO]), SIZES)
    assert actual.boxes[0].tolist() == [ONE, TWO, [0.0, 0, 400, 200]]  # padding


def test_noise_is_uniform_within_its_bounds():
    boxes = DenoisingQueries(num_queries=4000)(objects([ONE]), SIZES[:1]).boxes[0]
    center, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    # 0.4 x 40 / 2 = 8 about 120, 0.4 x 20 / 2 = 4 about 60, 40 x (1 -+ 0.4), 20 x (1 -+ 0.4)
    bounds = [(112.0, 128.0), (56.0, 64.0), (24.0, 56.0), (12.0, 28.0)]
    numbers = torch.cat([center, size], dim=1)
    for values, (low, high) in zip(numbers.unbind(1), bounds, strict=True):
        assert low - 1e-3 <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high + 1e-3
        parts = torch.histc(values, bins=4, min=low, max=high)
        assert parts.min() > 900  # of 1000 in every quarter
    correlations = torch.corrcoef(numbers.T) - torch.eye(4)
    assert correlations.abs().max() < 0.06


def test_copies_stay_inside_of_the_image():
    edge = [[0.0, 0, 400, 200], [380.0, 190, 400, 200], [0.0, 0, 20, 2]]
    actual = DenoisingQueries(num_queries=300, box_noise=1.0)(objects(edge), SIZES[:1])
    assert actual.boxes.min() >= 0
    assert (actual.boxes[..., 2:] <= torch.tensor([400.0, 200.0])).all()
    assert (actual.boxes[..., 2:] - actual.boxes[..., :2] >= 3 - 1e-4).all()


def test_a_batch_without_objects_has_padding_alone():
    actual = DenoisingQueries(num_queries=3)(objects([], []), SIZES)
    assert actual.gt_indices.tolist() == [[-1]] * 2
    assert actual.boxes.tolist() == [[[0.0, 0, 400, 200]], [[0.0, 0, 100, 100]]]


def test_every_group_sees_itself_and_the_others_see_no_copy():
    known = torch.tensor([[0, 1, 0, 1], [0, -1, 0, -1]])
    copies = DenoisingBoxes(torch.zeros(2, 4, 4), known, torch.tensor([[0, 0, 1, 1]] * 2))
    actual = copies.attn_mask(torch.tensor([[True, True], [True, False]]))
    rows = ["110000", "110000", "111100", "111100", "110011", "110011"]
    assert actual[0].tolist() == [[x == "1" for x in row] for row in rows]
    # query 1 and copies 1 and 3 are padding, which nothing sees
    rows = ["100000", "100000", "101000", "101000", "100010", "100010"]
    assert actual[1].tolist() == [[x == "1" for x in row] for row in rows]


@pytest.mark.parametrize("wrong", [dict(num_queries=0), dict(box_noise=-0.1), dict(box_noise=1.5)])
def test_wrong_settings_are_refused(wrong: dict[str, float]):
    with pytest.raises(ValueError, match="num_queries"):
        DenoisingQueries(**wrong)
