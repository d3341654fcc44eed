"""Kinds of errors of boxes laid out by hand, and agreement with COCO's own matching."""

from typing import Any

import numpy as np
import pytest

from stageinteractor.data.coco_format import CocoSet
from stageinteractor.evaluation.coco import coco_api, evaluate_boxes
from stageinteractor.evaluation.errors_by_kind import (
    KINDS,
    Finding,
    count_kinds,
    find_errors,
    match_in_order,
    summarize_errors,
)

Json = dict[str, Any]
CAT, DOG = 7, 19
SQUARE = [0, 0, 100, 100]


def make_set(*objects: tuple[int, list[float]], crowds: tuple[Any, ...] = ()) -> CocoSet:
    """Image 1 with objects (category, xywh); image 2 without any."""
    annotations = [
        {
            "id": number,
            "image_id": 1,
            "category_id": category,
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": int(number > len(objects)),
        }
        for number, (category, box) in enumerate([*objects, *crowds], start=1)
    ]
    images = [{"id": i, "file_name": f"{i}.png", "width": 500, "height": 500} for i in (1, 2)]
    return CocoSet(
        "-", images, annotations, [{"id": CAT, "name": "cat"}, {"id": DOG, "name": "dog"}]
    )


def detection(category: int, box: list[float], score: float = 0.9, image: int = 1) -> Json:
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


def kinds(coco_set: CocoSet, *results: Json) -> list[str]:
    return [finding.kind for finding in find_errors(coco_set, results)[1]]


ALL_KINDS = make_set(
    (CAT, [0, 0, 100, 100]),
    (DOG, [200, 0, 100, 100]),
    (CAT, [0, 200, 100, 100]),
    (CAT, [200, 200, 100, 100]),
)
RESULTS = [
    detection(DOG, [400, 400, 50, 50], 0.4),
    detection(CAT, [0, 0, 100, 100], 0.9),
    detection(CAT, [0, 0, 100, 80], 0.8),
    detection(CAT, [200, 0, 100, 60], 0.7),
    detection(CAT, [0, 200, 100, 40], 0.6),
    detection(DOG, [0, 275, 100, 25], 0.5),
    detection(CAT, [200, 200, 100, 100], 0.29),
    detection(CAT, [0, 0, 100, 100], 0.35, image=2),
]


def test_every_kind_once_worked_out_by_hand():
    found = find_errors(ALL_KINDS, RESULTS)
    assert list(found) == [1, 2]
    told = [(f.kind, f.annotation and f.annotation["id"], f.iou) for f in found[1]]
    assert told == [
        ("correct", 1, 1.0),
        ("duplicate", 1, pytest.approx(0.8)),
        ("wrong_class", 2, pytest.approx(0.6)),
        ("poor_localisation", 3, pytest.approx(0.4)),
        ("both_wrong", 3, pytest.approx(0.25)),
        ("background", None, 0.0),
        ("missed", 4, 0.0),
    ]
    scores = [f.detection["score"] for f in found[1] if f.detection]
    assert scores == [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    assert [f.kind for f in found[2]] == ["background"]


def test_a_lower_threshold_finds_the_object_that_was_missed():
    found = find_errors(ALL_KINDS, RESULTS, min_score=0.29)
    assert count_kinds(found[1]) == {**dict.fromkeys(KINDS, 1), "correct": 2, "missed": 0}


@pytest.mark.parametrize(
    ("height", "kind"),
    [(50, "correct"), (49.9, "poor_localisation"), (10, "poor_localisation"), (9.9, "background")],
)
def test_limits_of_the_overlap(height: float, kind: str):
    found = kinds(make_set((CAT, SQUARE)), detection(CAT, [0, 0, 100, height]))
    assert found == ([kind, "missed"] if kind == "background" else [kind])


def test_the_higher_score_takes_the_object_even_if_it_fits_less():
    first, second = detection(CAT, [0, 0, 100, 60], 0.9), detection(CAT, SQUARE, 0.8)
    found = find_errors(make_set((CAT, SQUARE)), [second, first])[1]
    assert [(f.kind, f.detection) for f in found] == [("correct", first), ("duplicate", second)]


def test_a_second_detection_takes_the_second_of_two_objects_in_one_place():
    twins = make_set((CAT, SQUARE), (CAT, [0, 0, 100, 90]))
    assert kinds(twins, *[detection(CAT, SQUARE)] * 2) == ["correct", "correct"]
    assert kinds(twins, *[detection(CAT, SQUARE)] * 3) == ["correct", "correct", "duplicate"]


def test_what_a_detection_fits_goes_before_what_it_touches():
    both = make_set((DOG, SQUARE), (CAT, [80, 0, 100, 100]))  # IoU 1 and 2000 / 18000 > 0.1
    assert kinds(both, detection(CAT, SQUARE)) == ["wrong_class", "missed"]


def test_its_own_class_goes_before_another_that_fits_better():
    both = make_set((DOG, SQUARE), (CAT, [0, 0, 100, 60]))
    results = [detection(CAT, [0, 0, 100, 60], 0.9), detection(CAT, SQUARE, 0.8)]
    found = find_errors(both, results)[1]
    assert [(f.kind, f.annotation and f.annotation["id"]) for f in found] == [
        ("correct", 2),
        ("duplicate", 2),
        ("missed", 1),
    ]


def test_an_object_with_nothing_but_the_wrong_class_in_the_wrong_place_is_missed():
    found = kinds(make_set((CAT, SQUARE)), detection(DOG, [0, 0, 100, 30]))
    assert found == ["both_wrong", "missed"]


def test_crowds_are_neither_missed_nor_is_what_lies_in_them_wrong():
    crowd = make_set(crowds=((CAT, [0, 0, 300, 300]),))
    assert kinds(crowd) == []
    assert kinds(crowd, *[detection(CAT, [20, 20, 50, 50])] * 2) == []
    assert kinds(crowd, detection(DOG, [20, 20, 50, 50])) == ["background"]
    assert kinds(crowd, detection(CAT, [280, 0, 50, 50])) == ["background"]  # 0.4 of it inside


def test_an_object_in_a_crowd_is_an_object():
    crowd = make_set((CAT, SQUARE), crowds=((CAT, [0, 0, 300, 300]),))
    assert kinds(crowd, *[detection(CAT, SQUARE)] * 2) == ["correct"]
    assert kinds(crowd) == ["missed"]


def test_nothing_detected_means_all_missed():
    assert count_kinds(find_errors(ALL_KINDS, [])[1]) == {**dict.fromkeys(KINDS, 0), "missed": 4}


def test_columns_are_handed_out_row_by_row():
    overlaps = np.array([[0.6, 0.9], [0.2, 0.8], [0.5, 0.0]])
    assert match_in_order(overlaps).tolist() == [1, -1, 0]
    assert overlaps[0, 1] == 0.9  # the argument is left alone
    assert match_in_order(np.zeros((2, 0))).tolist() == [-1, -1]
    assert match_in_order(np.zeros((0, 3))).tolist() == []


def test_summary_counts_detections_by_their_class_and_missed_objects_by_their_own():
    summary = summarize_errors(ALL_KINDS, find_errors(ALL_KINDS, RESULTS), 0.3)
    assert (summary["images"], summary["objects"], summary["detections"]) == (2, 4, 7)
    assert summary["min_score"] == 0.3
    assert list(summary["kinds"]) == list(KINDS)
    assert summary["kinds"] == {**dict.fromkeys(KINDS, 1), "background": 2}
    cats, dogs = summary["classes"]["cat"], summary["classes"]["dog"]
    assert dogs == {**dict.fromkeys(KINDS, 0), "both_wrong": 1, "background": 1}
    assert cats == {**dict.fromkeys(KINDS, 1), "both_wrong": 0}


def test_crowds_do_not_count_as_objects_of_the_summary():
    crowd = make_set((CAT, SQUARE), crowds=((CAT, SQUARE),))
    assert summarize_errors(crowd, find_errors(crowd, []), 0.3)["objects"] == 1


def random_case(seed: int) -> tuple[CocoSet, list[Json]]:
    """30 images with two classes, crowds, and detections near the objects and elsewhere."""
    rng = np.random.default_rng(seed)
    images, annotations, results = [], [], []
    for image_id in range(1, 31):
        images.append({"id": image_id, "file_name": "-", "width": 400, "height": 400})
        for _ in range(int(rng.integers(0, 7))):
            box = [*rng.uniform(0, 200, 2).tolist(), *rng.uniform(20, 150, 2).tolist()]
            category = int(rng.choice([CAT, DOG]))
            entry = {"image_id": image_id, "category_id": category, "bbox": box}
            extra = {"area": box[2] * box[3], "iscrowd": int(rng.random() < 0.2)}
            annotations.append({"id": len(annotations) + 1} | entry | extra)
            for _ in range(int(rng.integers(0, 4))):
                near = (np.array(box) + rng.normal(0, 8, 4)).clip(1).tolist()
                detected = category if rng.random() < 0.8 else CAT + DOG - category
                results.append(detection(detected, near, float(rng.random()), image_id))
    categories = [{"id": CAT, "name": "cat"}, {"id": DOG, "name": "dog"}]
    return CocoSet("-", images, annotations, categories), results


@pytest.mark.parametrize("seed", range(4))
def test_correct_and_wrong_detections_are_as_many_as_coco_finds(seed: int):
    coco_set, results = random_case(seed)
    image_ids = [image["id"] for image in coco_set.images]
    evaluation = evaluate_boxes(coco_api(coco_set), results, image_ids, "pycocotools")
    right = wrong = 0
    for entry in evaluation.evalImgs:
        if entry is not None and entry["aRng"] == evaluation.params.areaRng[0]:
            matched, ignored = entry["dtMatches"][0] > 0, entry["dtIgnore"][0].astype(bool)
            right += int((matched & ~ignored).sum())
            wrong += int((~matched & ~ignored).sum())
    summary = summarize_errors(coco_set, find_errors(coco_set, results, 0.0), 0.0)
    assert summary["kinds"]["correct"] == right > 20
    assert summary["detections"] - right == wrong > 20


def test_category_of_a_finding():
    annotation = {"category_id": DOG}
    assert Finding("wrong_class", {"category_id": CAT}, annotation, 0.6).category_id == CAT
    assert Finding("missed", None, annotation, 0.0).category_id == DOG
