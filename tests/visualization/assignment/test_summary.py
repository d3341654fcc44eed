import dataclasses
import json
import re

import pytest
import torch

from stageinteractor.assigner import (
    CopiesMatcher,
    CrossStageAssigner,
    HungarianMatcher,
    OneToOneAtLastStage,
    PerStageAssigner,
    QualityTopKMatcher,
)
from stageinteractor.visualization.assignment import (
    collect_assignment,
    query_labels,
    summarize,
    write_page,
)
from stageinteractor.visualization.assignment.query_labels import gt_history


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


ACROSS = CrossStageAssigner(iou_threshold=0.1)
SOURCES = {
    "per-stage": (HungarianMatcher(), PerStageAssigner()),
    "cross-stage": (HungarianMatcher(), ACROSS),
    "own-match-kept": (
        HungarianMatcher(),
        CrossStageAssigner(iou_threshold=0.1, keep_own_match=True),
    ),
    "last-stage-per-stage": (HungarianMatcher(), OneToOneAtLastStage(ACROSS)),
    "quality-top-k": (QualityTopKMatcher(k=3, min_quality=0.1), PerStageAssigner()),
    "quality-top-k-across": (QualityTopKMatcher(k=3, min_quality=0.1), ACROSS),
    "copies": (CopiesMatcher(), PerStageAssigner()),
    "copies-across": (CopiesMatcher(), ACROSS),
}


@pytest.mark.parametrize("name", SOURCES)
def test_page_has_the_statistics_of_every_label_source(detector, inputs, tmp_path, name):
    detector.criterion.matcher, detector.criterion.assigner = SOURCES[name]
    (item,) = collect_assignment(detector, inputs[:1])
    write_page([item], ["a", "b", "c"], summarize([item]), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    summary = json.loads(re.search(r"const data = (.*);\n", page).group(1))["summary"]
    kinds = [[label.kind for label in query_labels(item, stage)] for stage in range(3)]
    counts = summary["counts"]
    assert counts["labels_added"] == [each.count("added") for each in kinds]
    assert counts["labels_dropped"] == [each.count("dropped") for each in kinds]
    shared = [[len(of_gt[s]["assigned"]) > 1 for of_gt in gt_history(item)] for s in range(3)]
    assert counts["multi_query_gt"] == [sum(each) for each in shared]
    matcher, assigner = SOURCES[name]
    assert (max(summary["matches"]) == 2) == (type(matcher) is HungarianMatcher)  # two boxes
    assert (sum(counts["labels_added"]) == 0) == isinstance(assigner, PerStageAssigner)
