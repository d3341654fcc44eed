"""Confusion matrices worked out by hand."""

from typing import Any

import numpy as np

from stageinteractor.data.coco_format import CocoSet
from stageinteractor.evaluation.confusion_matrix import confusion_matrix, most_confused

IDS = {"cat": 7, "dog": 19, "cow": 1000}
BOXES = [[0, 0, 100, 100], [200, 0, 100, 100], [0, 200, 100, 100], [200, 200, 100, 100]]


def make_set(*classes: str, crowd: str | None = None) -> CocoSet:
    """One image; the objects are BOXES, a crowd region is far from them."""
    entries: list[tuple[str, list[int], int]] = [
        (name, box, 0) for name, box in zip(classes, BOXES, strict=False)
    ]
    if crowd:
        entries.append((crowd, [600, 600, 300, 300], 1))
    annotations = [
        {"id": n, "image_id": 1, "category_id": IDS[name], "bbox": box, "area": 1.0, "iscrowd": c}
        for n, (name, box, c) in enumerate(entries, start=1)
    ]
    categories = [{"id": number, "name": name} for name, number in IDS.items()]
    image = {"id": 1, "file_name": "1.png", "width": 900, "height": 900}
    return CocoSet("-", [image], annotations, categories)


def detection(name: str, box: list[int], score: float) -> dict[str, Any]:
    return {"image_id": 1, "category_id": IDS[name], "bbox": box, "score": score}


def test_matrix_worked_out_by_hand():
    results = [
        detection("cat", BOXES[0], 0.9),
        detection("cow", BOXES[1], 0.8),  # the dog, detected as a cow
        detection("dog", [500, 0, 50, 50], 0.7),  # background
        detection("dog", BOXES[2], 0.2),  # score too low: the second dog is missed
        detection("cow", [200, 200, 100, 40], 0.6),  # IoU 0.4 with the cow
    ]
    matrix = confusion_matrix(make_set("cat", "dog", "dog", "cow"), results)
    assert matrix.tolist() == [[1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1], [0, 1, 1, 0]]


def test_crowds_do_not_count_and_excuse_their_class():
    inside = [650, 650, 50, 50]
    results = [detection("cat", inside, 0.9), detection("dog", inside, 0.9)]
    matrix = confusion_matrix(make_set(crowd="cat"), results)
    assert matrix[:3].sum() == 0
    assert matrix[3].tolist() == [0, 1, 0, 0]


def test_most_frequent_confusions_come_first():
    matrix = np.array([[9, 2, 0, 5], [3, 9, 0, 0], [0, 1, 9, 0], [8, 8, 8, 0]])
    names = list(IDS)
    assert most_confused(matrix, names) == [("dog", "cat", 3), ("cat", "dog", 2), ("cow", "dog", 1)]
    assert most_confused(matrix, names, count=1) == [("dog", "cat", 3)]
    assert most_confused(np.diag([3, 4, 5, 0]), names) == []
