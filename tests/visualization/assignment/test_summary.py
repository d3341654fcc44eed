import dataclasses

import torch
from PIL import Image

from stageinteractor.visualization.assignment import summarize
from stageinteractor.visualization.assignment.summary import plot_summary


def test_images_are_added_up_and_the_score_is_over_all_objects(item):
    steady = dataclasses.replace(
        item,
        matches=torch.tensor([[0, 1, -1], [0, 1, -1]]),
        learnt=torch.tensor([[[0], [1], [-1]], [[0], [1], [-1]]]),
    )
    found = summarize([item, steady])
    assert (found.num_images, found.num_objects) == (2, 4)
    assert found.matches == [4, 4]
    assert found.counts == {
        "labels_added": [0, 1],
        "labels_dropped": [1, 0],
        "multi_class_queries": [0, 1],
        "multi_query_objects": [0, 1],
    }
    assert found.unstable_score == [50.0]  # both objects of the first image, none of the second
    lines = found.table().splitlines()
    assert lines[0].split()[:2] == ["stage", "matches"]
    assert lines[2].split() == ["0", "4", "0", "1", "0", "0"]
    assert lines[3].split() == ["1", "4", "1", "0", "1", "1", "50.0"]


def test_an_image_without_objects_counts_nothing(item):
    empty = dataclasses.replace(
        item,
        gt_boxes=torch.zeros(0, 4),
        gt_classes=torch.zeros(0, dtype=torch.long),
        matches=torch.full((2, 3), -1),
        learnt=torch.full((2, 3, 1), -1),
    )
    found = summarize([empty])
    assert found.matches == [0, 0]
    assert found.unstable_score == [0.0]


def test_the_plot_is_a_picture(item, tmp_path):
    plot_summary(summarize([item]), tmp_path / "statistics.png")
    with Image.open(tmp_path / "statistics.png") as picture:
        assert picture.size == (990, 374)
