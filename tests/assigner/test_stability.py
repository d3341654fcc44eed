import pytest
import torch

from stageinteractor.assigner import label_changes, unstable_scores
from stageinteractor.assigner.stability import queries_of_objects


def objects(*counts: int) -> list[dict[str, torch.Tensor]]:
    return [
        {"boxes": torch.zeros(count, 4), "labels": torch.zeros(count, dtype=torch.long)}
        for count in counts
    ]


def test_matches_are_inverted_to_the_query_of_each_object():
    matches = torch.tensor([[[2, -1, 0], [-1, 0, -1]], [[-1, -1, -1], [1, 2, 0]]])
    assert queries_of_objects(matches, 3).tolist() == [
        [[2, -1, 0], [1, -1, -1]],
        [[-1, -1, -1], [2, 0, 1]],
    ]


def test_no_objects_invert_to_nothing():
    assert queries_of_objects(torch.full((2, 1, 3), -1), 0).shape == (2, 1, 0)


def test_score_is_the_share_of_objects_that_change_their_query():
    matches = torch.tensor(
        [
            [[0, 1, -1], [0, -1, -1]],
            [[0, -1, 1], [0, -1, -1]],  # object 1 of image 0 moved: 1 of 3 objects
            [[1, -1, 0], [-1, 0, -1]],  # all three moved
        ]
    )
    found = unstable_scores(matches, objects(2, 1))
    torch.testing.assert_close(found, torch.tensor([100 / 3, 100.0]))


def test_an_object_that_comes_back_has_changed_twice():
    matches = torch.tensor([[[0, -1]], [[-1, 0]], [[0, -1]], [[0, -1]]])
    assert unstable_scores(matches, objects(1)).tolist() == [100.0, 100.0, 0.0]


def test_images_without_objects_do_not_count():
    matches = torch.tensor([[[0, -1], [-1, -1]], [[-1, 0], [-1, -1]]])
    assert unstable_scores(matches, objects(1, 0)).tolist() == [100.0]


def test_score_is_zero_without_objects():
    assert unstable_scores(torch.full((3, 2, 4), -1), objects(0, 0)).tolist() == [0.0, 0.0]


def test_one_stage_has_no_score():
    assert unstable_scores(torch.tensor([[[0, 1]]]), objects(2)).shape == (0,)


def test_more_objects_than_queries_count_over_all_objects():
    # objects 0 and 1, then 0 and 2: 1 lost its query, 2 got one, 0 and 3 are unchanged: 2 of 4
    matches = torch.tensor([[[0, 1]], [[0, 2]]])
    assert unstable_scores(matches, objects(4)).tolist() == [50.0]


def test_changes_are_counted_stage_by_stage():
    own = torch.tensor([[[[1.0, 0], [0, 1]]], [[[0, 0], [1, 0]]]])
    now = torch.tensor([[[[1.0, 1], [0, 0]]], [[[1, 1], [1, 0]]]])
    added, dropped = label_changes(now, own)
    assert added.tolist() == [1, 2]
    assert dropped.tolist() == [1, 0]


def test_equal_targets_are_no_change():
    own = torch.ones(3, 1, 2, 2)
    added, dropped = label_changes(own, own)
    assert added.tolist() == dropped.tolist() == [0, 0, 0]


def test_targets_of_different_shapes_are_refused():
    with pytest.raises(RuntimeError, match="must match the size"):
        label_changes(torch.zeros(2, 1, 3, 4), torch.zeros(2, 1, 2, 4))
