"""COCO's twelve numbers: equal for both backends, and worked out by hand."""

import copy
import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_sets import (
    BOTH,
    CATEGORIES,
    process,
    random_set,
    registered_set,
    twelve_numbers,
)

from stageinteractor.data.coco_format import CocoSet
from stageinteractor.errors import ConfigError
from stageinteractor.evaluation import CocoEvaluator
from stageinteractor.evaluation.coco import (
    TWELVE,
    choose_backend,
    coco_api,
    evaluate_boxes,
)

Json = dict[str, Any]


# The two backends


@pytest.mark.parametrize("faulty_boxes", [False, True], ids=["", "boxes-without-width"])
@pytest.mark.parametrize("seed", range(3))
def test_backends_give_the_same_twelve_numbers(seed: int, faulty_boxes: bool):
    coco_set, results = random_set(np.random.default_rng(seed), faulty_boxes)
    assert any(annotation["iscrowd"] for annotation in coco_set.annotations)
    slow, fast = (twelve_numbers(coco_set, results, backend) for backend in BOTH)
    assert ((slow > 0) & (slow < 1)).all()
    np.testing.assert_allclose(fast, slow, rtol=0, atol=1e-9)


@pytest.mark.parametrize("backend", BOTH)
def test_only_the_given_images_count(backend: str):
    coco_set, _ = random_set(np.random.default_rng(0))
    results = [
        {"score": 0.9} | {key: annotation[key] for key in ("image_id", "category_id", "bbox")}
        for annotation in coco_set.annotations
        if annotation["image_id"] == 1 and not annotation["iscrowd"]
    ]
    precisions = [
        evaluate_boxes(coco_api(coco_set), copy.deepcopy(results), images, backend).stats[0]
        for images in ([1], [1, 2])
    ]
    assert precisions[0] == pytest.approx(1)
    assert precisions[1] < 1


@pytest.mark.parametrize("backend", BOTH)
def test_average_precision_worked_out_by_hand(backend: str):
    """Two objects; the best detection is wrong, the second right: recall 0.5 at precision 0.5."""
    image = {"id": 1, "file_name": "-", "height": 400, "width": 400}
    annotations = [
        {"id": i, "image_id": 1, "category_id": 7, "bbox": box, "area": box[2] ** 2, "iscrowd": 0}
        for i, box in enumerate([[0, 0, 50, 50], [200, 200, 100, 100]], start=1)
    ]
    results = [
        {"image_id": 1, "category_id": 7, "bbox": [100, 100, 50, 50], "score": 0.9},
        {"image_id": 1, "category_id": 7, "bbox": [0, 0, 50, 50], "score": 0.8},
    ]
    coco_set = CocoSet("-", [image], annotations, CATEGORIES[:1])
    numbers = dict(zip(TWELVE, twelve_numbers(coco_set, results, backend), strict=True))
    # 51 of the 101 recall thresholds, 0 to 0.5, are reached.
    assert numbers["AP"] == numbers["AP50"] == numbers["AP75"] == pytest.approx(0.5 * 51 / 101)
    assert (numbers["AR1"], numbers["AR10"]) == (0, 0.5)
    assert (numbers["ARm"], numbers["ARl"], numbers["APs"]) == (1, 0, -1)


# The choice of a backend


def test_auto_prefers_the_fast_backend():
    assert choose_backend("auto") == "faster-coco-eval"
    assert choose_backend("pycocotools") == "pycocotools"
    assert choose_backend("faster-coco-eval") == "faster-coco-eval"


def test_auto_falls_back_to_pycocotools(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    assert choose_backend("auto") == "pycocotools"
    with pytest.raises(ConfigError, match="not installed: pip install 'faster-coco-eval>="):
        choose_backend("faster-coco-eval")


# The evaluator


@pytest.fixture
def content() -> Json:
    """Two images and an empty one; category ids with gaps."""
    boxes = [(7, [10, 10, 40, 40]), (19, [60, 20, 20, 50]), (1000, [5, 60, 30, 30])]
    return {
        "images": [
            {"id": 40 + i, "file_name": f"{i}.png", "height": 100, "width": 100} for i in range(3)
        ],
        "annotations": [
            {"id": 1 + 3 * i + j, "image_id": 40 + i, "category_id": category, "bbox": box}
            for i in range(2)
            for j, (category, box) in enumerate(boxes)
        ],
        "categories": CATEGORIES,
    }


@pytest.fixture
def register(content: Json, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Register the current content as evaluated_val."""
    with ExitStack() as stack:

        def register(max_images: int | None = None) -> None:
            stack.close()
            options = {"max_images": max_images}
            stack.enter_context(registered_set("evaluated", tmp_path, content, **options))

        yield register


@pytest.fixture
def measure(content: Json, tmp_path: Path) -> Callable[..., dict[str, float]]:
    """Evaluate detections (image id, class index, box xyxy, score) of evaluated_val."""

    def run(detections: list[tuple[int, int, list[float], float]], backend: str = "auto") -> Any:
        evaluator = CocoEvaluator("evaluated_val", str(tmp_path / "evaluation"), backend)
        sizes = {each["id"]: (each["height"], each["width"]) for each in content["images"]}
        process(evaluator, sizes, detections)
        return evaluator.evaluate()["bbox"]

    return run


def perfect(content: Json) -> list[tuple[int, int, list[float], float]]:
    """Every annotation with an area, as a detection."""
    classes = {7: 0, 19: 1, 1000: 2}
    detections = []
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        if width > 0:
            box = [float(x), float(y), float(x + width), float(y + height)]
            detections.append(
                (annotation["image_id"], classes[annotation["category_id"]], box, 0.9)
            )
    return detections


@pytest.mark.parametrize("backend", BOTH)
def test_perfect_detections_give_ap_100(content: Json, register: Any, measure: Any, backend: str):
    register()
    metrics = measure(perfect(content), backend)
    assert list(metrics)[:12] == TWELVE
    assert metrics["AP"] == metrics["AP50"] == metrics["AP75"] == pytest.approx(100)
    assert metrics["AR1"] == metrics["AR100"] == pytest.approx(100)
    for name in ("person", "car", "dog"):
        assert metrics[f"AP-{name}"] == pytest.approx(100)
    assert math.isnan(metrics["APl"])  # there are no large objects


def test_missing_class_has_ap_0_and_counts_in_the_mean(content: Json, register: Any, measure: Any):
    register()
    metrics = measure([detection for detection in perfect(content) if detection[1] != 1])
    assert metrics["AP-car"] == 0
    assert metrics["AP-dog"] == pytest.approx(100)
    assert metrics["AP"] == pytest.approx(200 / 3)


@pytest.mark.parametrize("backend", BOTH)
def test_no_detections_give_ap_0(
    content: Json, register: Any, measure: Any, tmp_path: Path, caplog: Any, backend: str
):
    content["annotations"] = [box for box in content["annotations"] if box["category_id"] != 19]
    register()
    metrics = measure([], backend)
    assert list(metrics) == [*TWELVE, "AP-person", "AP-car", "AP-dog"]
    without_gt = {name for name, value in metrics.items() if math.isnan(value)}
    assert without_gt == {"APl", "ARl", "AP-car"}
    assert {value for name, value in metrics.items() if name not in without_gt} == {0.0}
    assert "no detections" in caplog.text and "no ground-truth" not in caplog.text
    path = tmp_path / "evaluation" / "coco_instances_results.json"
    assert json.loads(path.read_text()) == []


@pytest.mark.parametrize("backend", BOTH)
@pytest.mark.parametrize("truth", ["none", "crowds"])
def test_no_ground_truth_gives_nan_and_a_warning(
    content: Json, register: Any, measure: Any, caplog: Any, backend: str, truth: str
):
    detections = perfect(content)
    content["annotations"] = [box | {"iscrowd": 1} for box in content["annotations"]]
    if truth == "none":
        content["annotations"] = []
    register()
    metrics = measure(detections, backend)
    assert list(metrics) == [*TWELVE, "AP-person", "AP-car", "AP-dog"]
    assert all(map(math.isnan, metrics.values()))
    assert "no ground-truth boxes" in caplog.text and "val.json" in caplog.text
    assert "no detections" not in caplog.text and "No predictions" not in caplog.text


def test_crowds_need_no_detection(content: Json, register: Any, measure: Any):
    detections = perfect(content)[:-1]
    register()
    assert measure(detections)["AP"] < 90
    content["annotations"][-1]["iscrowd"] = 1
    register()
    assert measure(detections)["AP"] == pytest.approx(100)


@pytest.mark.parametrize("backend", BOTH)
def test_annotation_id_0_counts(content: Json, register: Any, measure: Any, backend: str):
    for annotation in content["annotations"]:
        annotation["id"] -= 1
    register()
    assert measure(perfect(content), backend)["AP"] == pytest.approx(100)


def test_unknown_backend_error_lists_backends():
    with pytest.raises(ConfigError, match="'fast': choose one of auto, pycocotools, faster-coco"):
        CocoEvaluator("not_even_registered", "-", backend="fast")
