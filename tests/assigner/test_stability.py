import torch

from stageinteractor.assigner import assignment_statistics, unstable_scores


def objects(*counts: int) -> list[dict[str, torch.Tensor]]:
    return [
        {"boxes": torch.zeros(count, 4), "labels": torch.zeros(count, dtype=torch.long)}
        for count in counts
    ]


def test_score_is_the_share_of_objects_that_change_their_query():
    matches = torch.tensor(
        [
            [[0, 1, -1], [0, -1, -1]],
            [[0, -1, 1], [0, -1, -1]],  # object 1 of image 0 moved: 1 of 3 objects
            [[1, -1, 0], [-1, 0, -1]],  # all three moved
        ]
    )
    actual = unstable_scores(matches, objects(2, 1))
    torch.testing.assert_close(actual, torch.tensor([100 / 3, 100.0]))


def test_an_object_that_comes_back_has_changed_twice():
    matches = torch.tensor([[[0, -1]], [[-1, 0]], [[0, -1]], [[0, -1]]])
    assert unstable_scores(matches, objects(1)).tolist() == [100.0, 100.0, 0.0]


def test_images_without_objects_do_not_count():
    matches = torch.tensor([[[0, -1], [-1, -1]], [[-1, 0], [-1, -1]]])
    assert unstable_scores(matches, objects(1, 0)).tolist() == [100.0]


def test_a_box_of_two_queries_changes_if_one_of_them_does():
    # box 0: queries 0, 1, then 1, 0 (the same), then 1, 2; box 1: query 3 throughout
    matches = torch.tensor([[[0, 0, -1, 1]], [[0, 0, -1, 1]], [[-1, 0, 0, 1]]])
    assert unstable_scores(matches, objects(2)).tolist() == [0.0, 50.0]


def test_statistics_of_a_case_worked_out_by_hand():
    # one image, objects 0 and 1 of class 0, object 2 of class 1; two stages, three queries
    targets = [{"boxes": torch.zeros(3, 4), "labels": torch.tensor([0, 0, 1])}]
    matches = torch.tensor([[[0, 1, 2]], [[1, 0, -1]]])
    actual = assignment_statistics(
        torch.tensor(
            [
                [[[1, 2], [-1, -1], [2, -1]]],  # query 0: its class by another object, and class 1
                [[[1, -1], [1, -1], [0, -1]]],  # query 2 had no match and gets class 0
            ]
        ),
        matches,
        targets,
    )
    assert {name: values.tolist() for name, values in actual.items()} == {
        "labels_added": [1, 1],
        "labels_dropped": [1, 0],
        "multi_class_queries": [1, 0],
        "multi_query_gt": [1, 1],  # object 2 at stage 0, object 1 at stage 1
        "unstable_score": [100.0],
    }
