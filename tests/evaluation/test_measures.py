"""Measures read from the folder of a run."""

import json
from pathlib import Path

import pytest

from stageinteractor.errors import DataError
from stageinteractor.evaluation.measures import read_measures


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_plain_run_has_coco_numbers_and_their_difference(tmp_path: Path):
    write(tmp_path / "evaluation/metrics.json", {"AP": 30.0, "AP50": 50.0, "AP75": 35.0})
    assert read_measures(tmp_path) == {"AP": 30, "AP50": 50, "AP75": 35, "AP50-AP75": 15}


def test_further_measures_are_read(tmp_path: Path):
    write(tmp_path / "evaluation/metrics.json", {"AP": 30.0, "AP50": 50.0, "AP75": 35.0})
    write(tmp_path / "evaluation/metrics_nms.json", {"AP": 31.0})
    box = [0, 0, 10, 10]
    image = {"id": 1, "file_name": "-", "height": 50, "width": 50}
    entry = {"image_id": 1, "category_id": 7, "bbox": box}
    truth = {
        "images": [image],
        "annotations": [entry | {"id": 1, "area": 100, "iscrowd": 0}],
        "categories": [{"id": 7, "name": "person"}],
    }
    write(tmp_path / "evaluation/ground_truth.json", truth)
    results = [entry | {"score": 0.5}] * 3
    write(tmp_path / "evaluation/coco_instances_results.json", results)
    stability = {"mean_unstable_score": 12.5, "labels_added_per_image": [0.5, 1.0, 0.0]}
    write(tmp_path / "unstable_score/unstable_score.json", {"run": stability})
    measures = read_measures(tmp_path)
    assert measures["AP after NMS"] == 31
    assert measures["duplicates"] == 2
    assert (measures["unstable %"], measures["labels added"]) == (12.5, 1.5)


def test_files_of_other_content_are_refused(tmp_path: Path):
    write(tmp_path / "evaluation/metrics.json", {"AP": 30.0})
    with pytest.raises(DataError, match=r"metrics\.json has no AP50, AP75"):
        read_measures(tmp_path)
    write(tmp_path / "evaluation/metrics.json", {"AP": 30.0, "AP50": 50.0, "AP75": 35.0})
    write(tmp_path / "unstable_score/unstable_score.json", {"one": {}, "other": {}})
    with pytest.raises(DataError, match="has 2 runs"):
        read_measures(tmp_path)
