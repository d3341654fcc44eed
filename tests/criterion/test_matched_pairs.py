import math

import pytest
import torch

from stageinteractor.criterion import MatchedPairs, RankWeight

# Two stages, one image, four queries on a line; object 0 is (0, 0, 10, 10), object 1 the same far
# away. Queries 0 to 2 are shifted from object 0 by 0, 2 and 5: IoU 1, 80 / 120 and 50 / 150.
TARGETS = [
    {"boxes": torch.tensor([[0.0, 0, 10, 10], [100, 0, 110, 10]]), "labels": torch.tensor([3, 1])}
]
ROW = torch.tensor([[0.0, 0, 10, 10], [2, 0, 12, 10], [5, 0, 15, 10], [100, 0, 110, 20]])
BOXES = ROW.expand(2, 1, 4, 4)
# stage 0: all of 0 to 2 learn object 0, query 1 and query 3 learn object 1
OBJECTS = torch.tensor([[[0, -1], [0, 1], [0, -1], [1, -1]]] * 2).view(2, 1, 4, 2)
MATCHES = torch.tensor([[[0, -1, -1, 1]], [[-1, -1, 0, 1]]])


@pytest.fixture
def positives() -> MatchedPairs:
    return MatchedPairs(OBJECTS, BOXES, MATCHES, TARGETS)


def test_labels_and_overlaps_are_those_of_the_objects(positives: MatchedPairs):
    assert positives.labels[0, 0].tolist() == [[3, 0], [3, 1], [3, 0], [1, 0]]
    expected = torch.tensor([[1, 0], [2 / 3, 0], [1 / 3, 0], [1 / 2, 0]])
    torch.testing.assert_close(positives.iou[0, 0], expected)
    torch.testing.assert_close(positives.best_iou, torch.tensor([[[1.0, 0.5]]] * 2))


def test_ranks_follow_iou_and_put_the_last_match_first(positives: MatchedPairs):
    ranks = positives.ranks[:, 0].masked_fill(OBJECTS[:, 0] < 0, -1)
    # of object 1 query 3 (1/2) is better than query 1 (0)
    assert ranks[0].tolist() == [[0, -1], [1, 1], [2, -1], [0, -1]]
    # query 2 is the match of gt 0 at this stage, with the worst box of the three
    assert ranks[1].tolist() == [[1, -1], [2, 1], [0, -1], [0, -1]]


def test_several_last_matches_of_a_box_are_ranked_by_iou():
    boxes = BOXES[:1].flip(2)  # IoU with box 0: 0, 1/3, 2/3, 1
    matches = torch.tensor([[[1, 0, -1, 0]]])
    gt_indices = torch.tensor([[[[1], [0], [0], [0]]]])
    ranks = MatchedPairs(gt_indices, boxes, matches, TARGETS).ranks
    assert ranks.flatten().tolist() == [0, 1, 2, 0]  # query 2 is no match


def test_rank_weight_decays_with_the_rank(positives: MatchedPairs):
    weights = RankWeight(tau=2.0)(positives.iou, positives.iou, positives)
    expected = [math.exp(-rank / 2) for rank in (0, 1, 1, 2, 0)]
    assert weights[0, 0][positives.valid[0, 0]].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("tau", [0.0, -1.0, math.inf])
def test_rank_weight_without_a_decay_is_refused(tau: float):
    with pytest.raises(ValueError, match="tau"):
        RankWeight(tau)


def test_largest_values_of_objects_and_of_images(positives: MatchedPairs):
    values = torch.tensor([[0.1, 9.0], [0.3, 0.7], [0.2, 9.0], [0.5, 9.0]]).expand(2, 1, 4, 2)
    per_object = positives.largest_per_gt(values)[0, 0]
    assert per_object[positives.valid[0, 0]].tolist() == pytest.approx([0.3, 0.3, 0.7, 0.3, 0.7])
    assert positives.largest_per_image(values).flatten().tolist() == pytest.approx([0.7, 0.7])
    best = positives.best_iou_per_gt()[0, 0][positives.valid[0, 0]]
    assert best.tolist() == pytest.approx([1, 1, 0.5, 1, 0.5])


def test_without_objects_there_are_no_pairs():
    nothing = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}]
    none = torch.full((2, 1, 4, 1), -1)
    positives = MatchedPairs(none, BOXES, none[..., 0], nothing)
    assert not positives.valid.any() and not positives.iou.any()
    assert positives.ranks.shape == none.shape
    assert positives.best_iou_per_image().tolist() == [[[[0.0]]], [[[0.0]]]]
    assert positives.largest_per_gt(positives.iou).tolist() == positives.iou.tolist()


def test_of_equal_boxes_the_earlier_query_comes_first():
    # queries 1 and 3 fit exactly, queries 0, 2 and 4 by half
    box, half = [0.0, 0, 10, 10], [0.0, 0, 10, 20]
    boxes = torch.tensor([half, box, half, box, half]).view(1, 1, 5, 4)
    none = torch.full((1, 1, 5), -1)
    targets = [{"boxes": torch.tensor([box]), "labels": torch.tensor([0])}]
    ranks = MatchedPairs(torch.zeros(1, 1, 5, 1).long(), boxes, none, targets).ranks
    assert ranks.flatten().tolist() == [2, 0, 3, 1, 4]
