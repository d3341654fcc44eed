"""NMS of COCO results, and the evaluation with and without NMS in one pass."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from coco_sets import detection, process, registered_set
from detectron2.utils import comm

from stageinteractor.config import apply_overrides, load_config
from stageinteractor.errors import ConfigError
from stageinteractor.evaluation import CocoEvaluator
from stageinteractor.evaluation.coco import TWELVE
from stageinteractor.evaluation.nms import apply_nms

CONFIGS = Path(__file__).resolve().parents[2] / "configs/common/data"


# NMS of results


def test_lower_score_of_two_boxes_of_a_class_is_dropped():
    """Ten by ten, shifted by one: 90 of 110 shared, IoU 0.818; by two: 80 of 120, 0.667."""
    detections = [
        detection(1, 7, [0, 0, 10, 10], 0.5),
        detection(1, 7, [1, 0, 10, 10], 0.9),
        detection(1, 7, [3, 0, 10, 10], 0.8),
        detection(1, 19, [1, 0, 10, 10], 0.4),  # another class
        detection(2, 7, [0, 0, 10, 10], 0.1),  # another image
    ]
    assert apply_nms(detections, 0.8) == detections[1:]
    assert apply_nms(detections, 0.6) == [detections[1], detections[3], detections[4]]
    assert apply_nms(detections, 0.82) == detections
    assert apply_nms([], 0.8) == []


def test_order_is_kept_and_results_are_copies():
    detections = [detection(2, 7, [0, 0, 9, 9], 0.1), detection(1, 7, [0, 0, 9, 9], 0.9)]
    kept = apply_nms(detections, 0.5)
    assert kept == detections
    kept[0]["score"] = 1
    assert detections[0]["score"] == 0.1


def test_nms_of_many_boxes_equals_nms_class_by_class():
    torch.manual_seed(0)
    places = (torch.rand(1500, 2) * 4000).tolist()
    detections = [detection(1, i % 3, [*place, 20.0, 20.0], 0.5) for i, place in enumerate(places)]
    for category in range(3):
        mine = [each for each in detections if each["category_id"] == category]
        assert apply_nms(mine, 0.3) == [
            each for each in apply_nms(detections, 0.3) if each["category_id"] == category
        ]


# The evaluator


@pytest.fixture
def registered(tmp_path: Path) -> Iterator[None]:
    """Two objects of a class and one of another in an image; a second image is empty."""
    objects = [(7, [0, 0, 50, 50]), (7, [200, 200, 100, 100]), (19, [0, 200, 60, 60])]
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 400, "width": 400} for i in (1, 2)],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": category, "bbox": box}
            for i, (category, box) in enumerate(objects, start=1)
        ],
        "categories": [{"id": 7, "name": "person"}, {"id": 19, "name": "car"}],
    }
    with registered_set("nms", tmp_path, content):
        yield


# image, class, box xyxy, score; a copy of the first person that is one pixel off comes before the
# second person, and the car is right
DETECTIONS = [
    (1, 0, [0, 0, 50, 50], 0.9),
    (1, 0, [0, 0, 50, 51], 0.8),
    (1, 0, [200, 200, 300, 300], 0.7),
    (1, 1, [0, 200, 60, 260], 0.6),
    (2, 1, [0, 200, 60, 260], 0.1),
]


def evaluate(folder: Path, detections: list[Any], **options: Any) -> dict[str, dict[str, float]]:
    evaluator = CocoEvaluator("nms_val", str(folder), **options)
    process(evaluator, {1: (400, 400), 2: (400, 400)}, detections)
    return evaluator.evaluate()


@pytest.mark.usefixtures("registered")
def test_ap_with_and_without_nms_worked_out_by_hand(tmp_path: Path):
    """Person: right, copy, right: recall 0.5 at precision 1 (51 thresholds), then 2/3 (50 of 101).

    Without the copy both are detected at precision 1. Car: its only object has the higher score.
    """
    results = evaluate(tmp_path / "out", DETECTIONS, nms_threshold=0.8)
    assert list(results) == ["bbox", "bbox_nms", "best_f1"]
    assert list(results["bbox"]) == list(results["bbox_nms"]) == [*TWELVE, "AP-person", "AP-car"]
    assert results["bbox"]["AP-person"] == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)
    assert results["bbox_nms"]["AP-person"] == pytest.approx(100)
    assert results["bbox"]["AP-car"] == results["bbox_nms"]["AP-car"] == pytest.approx(100)
    assert results["bbox_nms"]["AP"] == pytest.approx(100)


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("backend", ["pycocotools", "faster-coco-eval"])
def test_bbox_nms_equals_an_evaluation_of_kept_detections(tmp_path: Path, backend: str):
    both = evaluate(tmp_path / "both", DETECTIONS, backend=backend, nms_threshold=0.8)
    before = [each for index, each in enumerate(DETECTIONS) if index != 1]
    alone = evaluate(tmp_path / "alone", before, backend=backend)
    plain = evaluate(tmp_path / "plain", DETECTIONS, backend=backend)
    assert list(alone) == list(plain) == ["bbox", "best_f1"]
    for name, value in alone["bbox"].items():
        assert both["bbox_nms"][name] == pytest.approx(value, nan_ok=True, abs=0)
    for name, value in plain["bbox"].items():
        assert both["bbox"][name] == pytest.approx(value, nan_ok=True, abs=0)
    files = {
        (tmp_path / "both/coco_instances_results.json", tmp_path / "plain"),
        (tmp_path / "both/coco_instances_results_nms.json", tmp_path / "alone"),
    }
    for file, folder in files:
        expected = json.loads((folder / "coco_instances_results.json").read_text())
        assert json.loads(file.read_text()) == expected
    for suffix, key in (("", "bbox"), ("_nms", "bbox_nms")):
        written = json.loads((tmp_path / f"both/metrics{suffix}.json").read_text())
        assert written == pytest.approx(both[key], nan_ok=True)


@pytest.mark.usefixtures("registered")
def test_evaluation_without_nms_removes_earlier_nms_files(tmp_path: Path):
    evaluate(tmp_path / "out", DETECTIONS, nms_threshold=0.8)
    assert len(list((tmp_path / "out").glob("*_nms.json"))) == 2
    evaluate(tmp_path / "out", DETECTIONS)
    assert list((tmp_path / "out").glob("*_nms.json")) == []


@pytest.mark.usefixtures("registered")
def test_processes_gather_once_and_rank_0_evaluates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Of two processes, this one has the detections of image 1 and is given the other's."""
    alone = evaluate(tmp_path / "alone", DETECTIONS, nms_threshold=0.8)
    evaluator = CocoEvaluator("nms_val", str(tmp_path / "both"), nms_threshold=0.8)
    evaluator._distributed = True
    gathered = []

    def gather(mine, dst=0):
        gathered.append(copy.deepcopy(mine))
        return [mine, [{"image_id": 2, "instances": other}]]

    other = [detection(2, 1, [0, 200, 60, 60], 0.1)]
    process(evaluator, {1: (400, 400)}, DETECTIONS)
    monkeypatch.setattr(comm, "gather", gather)
    monkeypatch.setattr(comm, "synchronize", lambda: None)
    results = evaluator.evaluate()
    assert len(gathered) == 1
    for key, numbers in alone.items():
        assert results[key] == pytest.approx(numbers, nan_ok=True)
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    assert evaluator.evaluate() == {}


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.5, 80])
def test_threshold_outside_0_to_1_is_refused(threshold: float):
    with pytest.raises(ConfigError, match=r"dataloader\.evaluator\.nms_threshold is .* between 0"):
        CocoEvaluator("not_even_registered", "-", nms_threshold=threshold)


@pytest.mark.parametrize("name", sorted(path.name for path in CONFIGS.glob("*.py")))
def test_every_data_config_takes_a_threshold(name: str):
    cfg = load_config(CONFIGS / name)
    assert cfg.dataloader.evaluator.nms_threshold is None
    apply_overrides(cfg, ["dataloader.evaluator.nms_threshold=0.8"])
    assert cfg.dataloader.evaluator.nms_threshold == 0.8
