"""Duplicates, counted by hand."""

import math

import pytest
from coco_sets import detection

from stageinteractor.data.coco_format import CocoSet
from stageinteractor.evaluation.duplicates import duplicates_per_object, missed_objects

CATEGORIES = [{"id": 7, "name": "person"}, {"id": 19, "name": "car"}]
IMAGES = [{"id": i, "file_name": "-", "height": 400, "width": 400} for i in (1, 2)]


def annotated(*entries):
    """A set of (image, category, box, iscrowd)."""
    return CocoSet(
        "-",
        IMAGES,
        [
            {"id": i, "image_id": image, "category_id": category, "bbox": box, "iscrowd": crowd}
            for i, (image, category, box, crowd) in enumerate(entries, start=1)
        ],
        CATEGORIES,
    )


TRUTH = annotated((1, 7, [0, 0, 10, 10], 0), (1, 7, [0, 5, 10, 10], 0), (2, 19, [0, 0, 10, 10], 0))


def test_detections_beyond_the_first_of_an_object_count():
    """Three of the first object, one of the second, none of the third: 2 of 3 objects."""
    results = [
        detection(1, 7, [0, 0, 10, 10], 0.9),
        detection(1, 7, [0, 1, 10, 10], 0.8),  # IoU 0.82 with the first object, 0.43 with the next
        detection(1, 7, [1, 0, 10, 10], 0.7),
        detection(1, 7, [0, 5, 10, 10], 0.6),
        detection(1, 19, [0, 0, 10, 10], 0.5),  # another class
        detection(1, 7, [4, 0, 10, 10], 0.4),  # IoU 0.43
        detection(2, 7, [0, 0, 10, 10], 0.3),  # another class
    ]
    assert duplicates_per_object(TRUTH, results) == pytest.approx(2 / 3)
    assert duplicates_per_object(TRUTH, results, iou=0.9) == 0
    assert duplicates_per_object(TRUTH, results, iou=0.4) == 1
    assert duplicates_per_object(TRUTH, results, top=2) == pytest.approx(1 / 3)
    assert duplicates_per_object(TRUTH, results[::-1], top=2) == pytest.approx(1 / 3)
    # two objects in image 1, whose two best are of the first object
    assert duplicates_per_object(TRUTH, results, top=None) == pytest.approx(1 / 3)


def test_crowds_are_no_objects():
    crowd = annotated((1, 7, [0, 0, 10, 10], 1), (1, 19, [0, 0, 10, 10], 0))
    twice = [detection(1, 7, [0, 0, 10, 10], 0.9)] * 2
    assert duplicates_per_object(crowd, twice) == 0
    assert math.isnan(duplicates_per_object(annotated((1, 7, [0, 0, 10, 10], 1)), twice))


def test_iou_limit_is_inclusive_and_defaults_are_0_7_and_100():
    one = annotated((1, 7, [0, 0, 10, 10], 0))
    # 5 of 10 wide: IoU 1/2; 7 of 10 wide: IoU 7/10
    half, most = detection(1, 7, [0, 0, 5, 10], 0.8), detection(1, 7, [0, 0, 7, 10], 0.7)
    best = detection(1, 7, [0, 0, 10, 10], 0.9)
    assert duplicates_per_object(one, [best, half], iou=0.5) == 1
    assert duplicates_per_object(one, [best, half], iou=0.51) == 0
    assert duplicates_per_object(one, [best, half]) == 0
    assert duplicates_per_object(one, [best, half, most], iou=0.69) == 1
    assert duplicates_per_object(one, [best] * 150) == 99
    assert duplicates_per_object(one, [best] * 150, top=20) == pytest.approx(19)


def test_objects_without_a_detection_of_their_class_are_missed():
    results = [
        detection(1, 7, [0, 0, 10, 10], 0.9),
        detection(1, 7, [0, 5, 10, 5], 0.1),  # IoU 1/2 with the second object
        detection(2, 7, [0, 0, 10, 10], 0.8),  # another class
    ]
    assert missed_objects(TRUTH, results) == pytest.approx(100 / 3)
    assert missed_objects(TRUTH, results, iou=0.6) == pytest.approx(200 / 3)
    assert missed_objects(TRUTH, results, top=1) == pytest.approx(200 / 3)
    assert missed_objects(TRUTH, []) == 100
    assert math.isnan(missed_objects(annotated((1, 7, [0, 0, 10, 10], 1)), results))
