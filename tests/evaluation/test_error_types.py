"""Error types of boxes laid out by hand, and agreement with COCO's own matching."""

from typing import Any

import numpy as np
import pytest

from stageinteractor.data.coco_format import CocoSet
from stageinteractor.evaluation.coco import coco_api, evaluate_boxes
from stageinteractor.evaluation.error_types import (
    ERROR_TYPES,
    classify_detections,
    count_types,
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


def types(coco_set: CocoSet, *results: Json) -> list[str]:
    return [outcome.type for outcome in classify_detections(coco_set, results)[1]]


ALL_TYPES = make_set(
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


def test_every_type_once_worked_out_by_hand():
    outcomes = classify_detections(ALL_TYPES, RESULTS)
    assert list(outcomes) == [1, 2]
    summary = [(o.type, o.annotation and o.annotation["id"], o.iou) for o in outcomes[1]]
    assert summary == [
        ("correct", 1, 1.0),
        ("Dupe", 1, pytest.approx(0.8)),
        ("Cls", 2, pytest.approx(0.6)),
        ("Loc", 3, pytest.approx(0.4)),
        ("Both", 3, pytest.approx(0.25)),
        ("Bkg", None, 0.0),
        ("Miss", 4, 0.0),
    ]
    scores = [o.detection["score"] for o in outcomes[1] if o.detection]
    assert scores == [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    assert [o.type for o in outcomes[2]] == ["Bkg"]


def test_lower_min_score_detects_the_missed_object():
    outcomes = classify_detections(ALL_TYPES, RESULTS, min_score=0.29)
    assert count_types(outcomes[1]) == {**dict.fromkeys(ERROR_TYPES, 1), "correct": 2, "Miss": 0}


@pytest.mark.parametrize(
    ("height", "expected"), [(50, "correct"), (49.9, "Loc"), (10, "Loc"), (9.9, "Bkg")]
)
def test_limits_of_the_overlap(height: float, expected: str):
    types_of_one = types(make_set((CAT, SQUARE)), detection(CAT, [0, 0, 100, height]))
    assert types_of_one == ([expected, "Miss"] if expected == "Bkg" else [expected])


def test_cls_goes_before_loc():
    both = make_set((DOG, SQUARE), (CAT, [80, 0, 100, 100]))  # IoU 1 and 2000 / 18000 > 0.1
    assert types(both, detection(CAT, SQUARE)) == ["Cls", "Miss"]


def test_dupe_goes_before_cls_of_higher_iou():
    both = make_set((DOG, SQUARE), (CAT, [0, 0, 100, 60]))
    results = [detection(CAT, [0, 0, 100, 60], 0.9), detection(CAT, SQUARE, 0.8)]
    outcomes = classify_detections(both, results)[1]
    assert [(o.type, o.annotation and o.annotation["id"]) for o in outcomes] == [
        ("correct", 2),
        ("Dupe", 2),
        ("Miss", 1),
    ]


def test_crowds_cause_no_errors():
    crowd = make_set(crowds=((CAT, [0, 0, 300, 300]),))
    assert types(crowd) == []
    assert types(crowd, *[detection(CAT, [20, 20, 50, 50])] * 2) == []
    assert types(crowd, detection(DOG, [20, 20, 50, 50])) == ["Bkg"]
    assert types(crowd, detection(CAT, [280, 0, 50, 50])) == ["Bkg"]  # 0.4 of it inside


def test_summary_counts_by_class():
    summary = summarize_errors(ALL_TYPES, classify_detections(ALL_TYPES, RESULTS), 0.3)
    assert (summary["images"], summary["objects"], summary["detections"]) == (2, 4, 7)
    assert summary["min_score"] == 0.3
    assert list(summary["types"]) == list(ERROR_TYPES)
    assert summary["types"] == {**dict.fromkeys(ERROR_TYPES, 1), "Bkg": 2}
    cats, dogs = summary["classes"]["cat"], summary["classes"]["dog"]
    assert dogs == {**dict.fromkeys(ERROR_TYPES, 0), "Both": 1, "Bkg": 1}
    assert cats == {**dict.fromkeys(ERROR_TYPES, 1), "Both": 0}


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
def test_correct_and_wrong_counts_equal_coco(seed: int):
    coco_set, results = random_case(seed)
    image_ids = [image["id"] for image in coco_set.images]
    evaluation = evaluate_boxes(coco_api(coco_set), results, image_ids, "pycocotools")
    right = wrong = 0
    for entry in evaluation.evalImgs:
        if entry is not None and entry["aRng"] == evaluation.params.areaRng[0]:
            matched, ignored = entry["dtMatches"][0] > 0, entry["dtIgnore"][0].astype(bool)
            right += int((matched & ~ignored).sum())
            wrong += int((~matched & ~ignored).sum())
    summary = summarize_errors(coco_set, classify_detections(coco_set, results, 0.0), 0.0)
    assert summary["types"]["correct"] == right > 20
    assert summary["detections"] - right == wrong > 20
