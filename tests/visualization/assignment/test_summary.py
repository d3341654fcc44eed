import dataclasses

import torch

from stageinteractor.visualization.assignment import summarize


def test_sums_over_images_and_score_over_all_objects(item):
    stable = dataclasses.replace(
        item,
        matches=torch.tensor([[0, 1, -1], [0, 1, -1]]),
        assigned=torch.tensor([[[0], [1], [-1]], [[0], [1], [-1]]]),
    )
    summary = summarize([item, stable])
    assert (summary.num_images, summary.num_gt) == (2, 4)
    assert summary.matches == [4, 4]
    assert summary.counts == {
        "labels_added": [0, 1],
        "labels_dropped": [1, 0],
        "multi_class_queries": [0, 1],
        "multi_query_gt": [0, 1],
    }
    assert summary.unstable_score == [50.0]  # both objects of the first image, none of the second
    lines = summary.table().splitlines()
    assert lines[0].split()[:2] == ["stage", "matches"]
    assert lines[2].split() == ["0", "4", "0", "1", "0", "0"]
    assert lines[3].split() == ["1", "4", "1", "0", "1", "1", "50.0"]
