"""Non-maximum suppression of COCO results, and the evaluation with and without it in one pass."""

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import print_csv_format
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from omegaconf import OmegaConf

from stageinteractor.config import apply_overrides, load_config
from stageinteractor.data.registration import resolve_dataset
from stageinteractor.errors import ConfigError
from stageinteractor.evaluation import CocoEvaluator
from stageinteractor.evaluation.coco import TWELVE
from stageinteractor.evaluation.nms import apply_nms

CONFIGS = Path(__file__).resolve().parents[2] / "configs/common/data"


def result(image, category, box, score):
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


# Suppression


def test_the_weaker_of_two_boxes_of_a_class_goes():
    """Ten by ten, shifted by one: 90 of 110 shared, IoU 0.818; by two: 80 of 120, 0.667."""
    found = [
        result(1, 7, [0, 0, 10, 10], 0.5),
        result(1, 7, [1, 0, 10, 10], 0.9),
        result(1, 7, [3, 0, 10, 10], 0.8),
        result(1, 19, [1, 0, 10, 10], 0.4),  # another class
        result(2, 7, [0, 0, 10, 10], 0.1),  # another image
    ]
    assert apply_nms(found, 0.8) == found[1:]
    assert apply_nms(found, 0.6) == [found[1], found[3], found[4]]
    assert apply_nms(found, 0.82) == found
    assert apply_nms([], 0.8) == []


def test_what_is_suppressed_suppresses_nothing():
    chain = [result(1, 7, [x, 0, 10, 10], 0.9 - x / 10) for x in (0, 1, 2)]
    assert apply_nms(chain, 0.8) == [chain[0], chain[2]]


def test_the_order_is_kept_and_the_results_are_copies():
    found = [result(2, 7, [0, 0, 9, 9], 0.1), result(1, 7, [0, 0, 9, 9], 0.9)]
    left = apply_nms(found, 0.5)
    assert left == found
    left[0]["score"] = 1
    assert found[0]["score"] == 0.1


def test_large_coordinates_and_many_boxes_of_other_classes_change_nothing():
    torch.manual_seed(0)
    places = (torch.rand(1500, 2) * 4000).tolist()
    found = [result(1, i % 3, [*place, 20.0, 20.0], 0.5) for i, place in enumerate(places)]
    for category in range(3):
        mine = [each for each in found if each["category_id"] == category]
        assert apply_nms(mine, 0.3) == [
            each for each in apply_nms(found, 0.3) if each["category_id"] == category
        ]


def test_classes_do_not_meet_at_negative_coordinates():
    # below 0 a shift by class, as torchvision makes it, would lay the first box on the second
    found = [result(1, 1, [-11, -11, 10, 10], 0.5), result(1, 0, [90, 90, 10, 10], 0.9)]
    assert apply_nms(found, 0.5) == found


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
    for image in content["images"]:
        (tmp_path / image["file_name"]).touch()
    (tmp_path / "val.json").write_text(json.dumps(content))
    split = {"json": str(tmp_path / "val.json"), "images": str(tmp_path)}
    resolve_dataset(OmegaConf.create({"name": "nms", "train": split, "val": split}))
    yield
    for name in ("nms_train", "nms_val"):
        DatasetCatalog.remove(name)
    for name in ("nms_train", "nms_val", "nms_val_checked"):
        MetadataCatalog.pop(name, None)


# image, class, box xyxy, score; a copy of the first person that is one pixel off comes before the
# second person, and the car is right
FOUND = [
    (1, 0, [0, 0, 50, 50], 0.9),
    (1, 0, [0, 0, 50, 51], 0.8),
    (1, 0, [200, 200, 300, 300], 0.7),
    (1, 1, [0, 200, 60, 260], 0.6),
    (2, 1, [0, 200, 60, 260], 0.1),
]


def evaluate(folder: Path, found: list[Any], **options: Any) -> dict[str, dict[str, float]]:
    evaluator = CocoEvaluator("nms_val", str(folder), **options)
    evaluator.reset()
    for image in (1, 2):
        mine = [each for each in found if each[0] == image]
        instances = Instances((400, 400))
        instances.pred_boxes = Boxes(torch.tensor([each[2] for each in mine]).float().view(-1, 4))
        instances.scores = torch.tensor([each[3] for each in mine])
        instances.pred_classes = torch.tensor([each[1] for each in mine]).long()
        evaluator.process([{"image_id": image}], [{"instances": instances}])
    return evaluator.evaluate()


@pytest.mark.usefixtures("registered")
def test_ap_with_and_without_worked_out_by_hand(tmp_path: Path):
    """Person: right, copy, right: recall 0.5 at precision 1 (51 thresholds), then 2/3 (50 of 101).

    Without the copy both are found at precision 1. Car: its only object has the higher score.
    """
    found = evaluate(tmp_path / "out", FOUND, nms_threshold=0.8)
    assert list(found) == ["bbox", "bbox_nms"]
    assert list(found["bbox"]) == list(found["bbox_nms"]) == [*TWELVE, "AP-person", "AP-car"]
    assert found["bbox"]["AP-person"] == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)
    assert found["bbox_nms"]["AP-person"] == pytest.approx(100)
    assert found["bbox"]["AP-car"] == found["bbox_nms"]["AP-car"] == pytest.approx(100)
    assert found["bbox_nms"]["AP"] == pytest.approx(100)


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("backend", ["pycocotools", "faster-coco-eval"])
def test_the_second_result_is_that_of_predictions_suppressed_before(tmp_path: Path, backend: str):
    both = evaluate(tmp_path / "both", FOUND, backend=backend, nms_threshold=0.8)
    before = [each for index, each in enumerate(FOUND) if index != 1]
    alone = evaluate(tmp_path / "alone", before, backend=backend)
    plain = evaluate(tmp_path / "plain", FOUND, backend=backend)
    assert list(alone) == list(plain) == ["bbox"]
    for name, value in alone["bbox"].items():
        assert both["bbox_nms"][name] == pytest.approx(value, nan_ok=True, abs=0)
    for name, value in plain["bbox"].items():
        assert both["bbox"][name] == pytest.approx(value, nan_ok=True, abs=0)
    files = {
        (tmp_path / "both/coco_instances_results.json", tmp_path / "plain"),
        (tmp_path / "both/coco_instances_results_nms.json", tmp_path / "alone"),
    }
    for file, folder in files:
        wanted = json.loads((folder / "coco_instances_results.json").read_text())
        assert json.loads(file.read_text()) == wanted
    for suffix, key in (("", "bbox"), ("_nms", "bbox_nms")):
        written = json.loads((tmp_path / f"both/metrics{suffix}.json").read_text())
        assert written == pytest.approx(both[key], nan_ok=True)


@pytest.mark.usefixtures("registered")
def test_an_evaluation_without_it_leaves_no_file_of_an_earlier_one(tmp_path: Path):
    evaluate(tmp_path / "out", FOUND, nms_threshold=0.8)
    assert len(list((tmp_path / "out").glob("*_nms.json"))) == 2
    evaluate(tmp_path / "out", FOUND)
    assert list((tmp_path / "out").glob("*_nms.json")) == []


@pytest.mark.usefixtures("registered")
def test_no_detections_are_0_in_both(tmp_path: Path):
    for numbers in evaluate(tmp_path / "out", [], nms_threshold=0.8).values():
        assert list(numbers) == [*TWELVE, "AP-person", "AP-car"]
        assert {name for name, value in numbers.items() if math.isnan(value)} == {"APs", "ARs"}
        assert set(numbers.values()) - {0.0} == {numbers["APs"], numbers["ARs"]}


@pytest.mark.usefixtures("registered")
def test_processes_gather_once_and_the_first_one_alone_evaluates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Of two processes, this one has the detections of image 1 and is given the other's."""
    alone = evaluate(tmp_path / "alone", FOUND, nms_threshold=0.8)
    evaluator = CocoEvaluator("nms_val", str(tmp_path / "both"), nms_threshold=0.8)
    evaluator._distributed = True
    gathered = []

    def gather(mine, dst=0):
        gathered.append(copy.deepcopy(mine))
        return [mine, [{"image_id": 2, "instances": other}]]

    first = [each for each in FOUND if each[0] == 1]
    other = [{"image_id": 2, "category_id": 1, "bbox": [0, 200, 60, 60], "score": 0.1}]
    evaluator.reset()
    instances = Instances((400, 400))
    instances.pred_boxes = Boxes(torch.tensor([each[2] for each in first]).float())
    instances.scores = torch.tensor([each[3] for each in first])
    instances.pred_classes = torch.tensor([each[1] for each in first])
    evaluator.process([{"image_id": 1}], [{"instances": instances}])
    monkeypatch.setattr(comm, "gather", gather)
    monkeypatch.setattr(comm, "synchronize", lambda: None)
    found = evaluator.evaluate()
    assert len(gathered) == 1
    for key, numbers in alone.items():
        assert found[key] == pytest.approx(numbers, nan_ok=True)
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    assert evaluator.evaluate() == {}


@pytest.mark.usefixtures("registered")
def test_detectron2_prints_both(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    found = evaluate(tmp_path / "out", FOUND, nms_threshold=0.8)
    with caplog.at_level("INFO"):
        print_csv_format(found)
    assert "Task: bbox" in caplog.text and "Task: bbox_nms" in caplog.text


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.5, 80])
def test_a_threshold_that_is_no_iou_is_refused(threshold: float):
    with pytest.raises(ConfigError, match=r"dataloader\.evaluator\.nms_threshold is .* between 0"):
        CocoEvaluator("not_even_registered", "-", nms_threshold=threshold)


@pytest.mark.parametrize("name", sorted(path.name for path in CONFIGS.glob("*.py")))
def test_every_data_config_takes_a_threshold(name: str):
    cfg = load_config(CONFIGS / name)
    assert cfg.dataloader.evaluator.nms_threshold is None
    apply_overrides(cfg, ["dataloader.evaluator.nms_threshold=0.8"])
    assert cfg.dataloader.evaluator.nms_threshold == 0.8
