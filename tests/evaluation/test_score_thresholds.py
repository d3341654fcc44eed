"""Score thresholds of best F1: equal to those of a slow loop over all thresholds."""

import json
import math

import numpy as np
import pytest
from coco_sets import BOTH, CATEGORIES, detection, process, random_set, registered_set

from stageinteractor.data.coco_format import CocoSet
from stageinteractor.evaluation import CocoEvaluator
from stageinteractor.evaluation.coco import coco_api, evaluate_boxes
from stageinteractor.evaluation.score_thresholds import (
    best_score,
    fit_thresholds,
    save_thresholds,
    score_curves,
)

NAMES = {each["id"]: each["name"] for each in CATEGORIES}


def iou(first, second, crowd) -> float:
    """IoU of two boxes (x, y, w, h); over the area of the first if the second is a crowd."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    common = max(width, 0.0) * max(height, 0.0)
    own = first[2] * first[3]
    return common / (own if crowd else own + second[2] * second[3] - common)


def slow_counts(coco_set, results, category, threshold):
    """TP, kept detections and objects of a class at a threshold, matched anew."""
    tp = kept = objects = 0
    for image in coco_set.images:
        chosen = [r for r in results if r["image_id"] == image["id"]]
        chosen = [r for r in chosen if r["category_id"] == category and r["score"] >= threshold]
        truth = [a for a in coco_set.annotations if a["image_id"] == image["id"]]
        truth = [a for a in truth if a["category_id"] == category]
        free = [a for a in truth if not a["iscrowd"]]
        objects += len(free)
        for each in sorted(chosen, key=lambda r: -r["score"]):
            overlaps = [iou(each["bbox"], a["bbox"], False) for a in free]
            if overlaps and max(overlaps) >= 0.5:
                del free[int(np.argmax(overlaps))]
                tp, kept = tp + 1, kept + 1
            elif all(iou(each["bbox"], a["bbox"], True) < 0.5 for a in truth if a["iscrowd"]):
                kept += 1
    return np.array([tp, kept, objects])


@pytest.mark.parametrize("seed", range(2))
def test_thresholds_equal_those_of_a_slow_loop(seed):
    coco_set, results = random_set(np.random.default_rng(seed))
    results = [r for r in results if r["image_id"] != 3] + results[:3]  # some scores are equal
    fitted = fit_thresholds(score_curves(coco_set, results), NAMES)
    scores = sorted({r["score"] for r in results}, reverse=True)
    counts = {k: [slow_counts(coco_set, results, k, s) for s in scores] for k in NAMES}
    counts[None] = list(map(sum, zip(*counts.values(), strict=True)))
    for key, at_scores in counts.items():
        f1 = [2 * tp / (kept + objects) for tp, kept, objects in at_scores]
        best = fitted.overall if key is None else fitted.classes[NAMES[key]]
        assert best.f1 == pytest.approx(max(f1))
        tp, kept, objects = slow_counts_at(coco_set, results, key, best.score)
        assert (best.precision, best.recall) == pytest.approx((tp / kept, tp / objects))
        assert best.f1 == pytest.approx(2 * tp / (kept + objects))


def slow_counts_at(coco_set, results, key, threshold):
    keys = NAMES if key is None else [key]
    return sum(slow_counts(coco_set, results, k, threshold) for k in keys)


@pytest.mark.parametrize("backend", BOTH)
def test_recall_of_all_detections_is_coco_s(backend):
    coco_set, results = random_set(np.random.default_rng(2))
    results = [r for r in results if r["image_id"] != 3]
    ids = [image["id"] for image in coco_set.images]
    evaluation = evaluate_boxes(coco_api(coco_set), results, ids, backend)
    curves = score_curves(coco_set, results)
    recall = [curves[key].recall[-1] for key in NAMES]
    np.testing.assert_allclose(recall, evaluation.eval["recall"][0, :, 0, -1])


def one_image(boxes, crowd=()) -> CocoSet:
    image = {"id": 1, "file_name": "-", "height": 100, "width": 100}
    annotations = [
        {"image_id": 1, "category_id": 7, "bbox": box, "iscrowd": int(i in crowd)}
        for i, box in enumerate(boxes)
    ]
    return CocoSet("-", [image], annotations, CATEGORIES)


def test_the_threshold_is_halfway_to_the_next_detection():
    coco_set = one_image([[0, 0, 10, 10], [50, 50, 10, 10]])
    results = [
        detection(1, 7, [0, 0, 10, 10], 0.9),
        detection(1, 7, [50, 50, 10, 10], 0.6),
        detection(1, 7, [80, 0, 10, 10], 0.2),
    ]
    best = best_score(score_curves(coco_set, results)[None])
    assert best == pytest.approx((0.4, 1.0, 1.0, 1.0))
    (cut,) = score_curves(coco_set, results[:2])[7].scores[-1:]
    assert cut == 0.6
    assert best_score(score_curves(coco_set, results[:2])[7]).score == 0.3


def test_without_correct_detections_there_is_no_threshold(tmp_path):
    coco_set = one_image([[0, 0, 10, 10]])
    wrong = [detection(1, 7, [80, 0, 10, 10])]
    for results in ([], wrong):
        assert fit_thresholds(score_curves(coco_set, results), NAMES) is None
    curves = score_curves(one_image([[0, 0, 90, 90]], crowd=[0]), wrong)
    assert len(curves[7].scores) == 0 and fit_thresholds(curves, NAMES) is None
    assert math.isnan(score_curves(one_image([]), wrong)[7].recall[0])
    (tmp_path / "score_thresholds.json").write_text("of an earlier evaluation")
    save_thresholds(tmp_path, None)
    assert not list(tmp_path.iterdir())


def test_the_evaluator_writes_thresholds_of_the_evaluated_images(tmp_path):
    boxes = [(7, [10, 10, 40, 40]), (19, [60, 20, 20, 50])]
    content = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "height": 100, "width": 100} for i in (1, 2, 3)
        ],
        "annotations": [
            {"id": 2 * i + j, "image_id": i, "category_id": category, "bbox": box}
            for i in (1, 2, 3)
            for j, (category, box) in enumerate(boxes)
        ],
        "categories": CATEGORIES,
    }
    with registered_set("thresholds", tmp_path, content, max_images=2):
        evaluator = CocoEvaluator("thresholds_val", str(tmp_path / "evaluation"))
        detections = [(i, 0, [10.0, 10.0, 50.0, 50.0], 0.8) for i in (1, 2)]
        detections += [(1, 1, [60.0, 20.0, 80.0, 70.0], 0.5), (2, 1, [0.0, 0.0, 9.0, 9.0], 0.3)]
        process(evaluator, {i: (100, 100) for i in (1, 2)}, detections)
        metrics = evaluator.evaluate()
    assert metrics["best_f1"] == pytest.approx(
        {"F1": 100 * 6 / 7, "score": 0.4, "score-person": 0.4, "score-car": 0.4}
    )
    saved = json.loads((tmp_path / "evaluation/score_thresholds.json").read_text())
    assert saved["iou"] == 0.5 and saved["overall"]["score"] == pytest.approx(0.4)
    assert saved["classes"]["person"]["f1"] == 1.0 and "dog" not in saved["classes"]
