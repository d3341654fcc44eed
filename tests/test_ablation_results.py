"""What an ablation keeps of a run."""

import json
import math
import re

import pytest

from stageinteractor.ablation_results import commit, machine, record_provenance, save_results
from stageinteractor.config import load_config, save_config
from stageinteractor.errors import DataError

TRUTH = {
    "images": [{"id": 1, "file_name": "-", "height": 50, "width": 50}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 7, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}
    ],
    "categories": [{"id": 7, "name": "person"}],
}
DETECTION = {"image_id": 1, "category_id": 7, "bbox": [0, 0, 9, 9], "score": 0.5}


@pytest.fixture
def run(tmp_path):
    """A finished run with two equal detections, of which NMS keeps one."""
    folder = tmp_path / "run"
    cfg = load_config("digits_in_photos")
    cfg.train.update(seed=3, max_iter=40, output_dir=str(folder))
    cfg.dataloader.evaluator.nms_threshold = 0.7
    save_config(cfg, folder / "row.yaml")
    evaluation = folder / "evaluation"
    evaluation.mkdir()
    files = {
        "metrics.json": {"AP": 30.12345, "AP50": 50.0, "AP75": 35.0, "APl": math.nan},
        "metrics_nms.json": {"AP": 31.0, "AP50": 51.0, "AP75": 36.0},
        "ground_truth.json": TRUTH,
        "coco_instances_results.json": [DETECTION] * 2,
        "coco_instances_results_nms.json": [DETECTION],
    }
    for name, content in files.items():
        (evaluation / name).write_text(json.dumps(content))
    lines = [{"iteration": 19, "bbox/AP": 10.0}, {"iteration": 40, "bbox/AP": 30.123, "time": 0.5}]
    (folder / "metrics.json").write_text("\n".join(map(json.dumps, lines)))
    record_provenance(folder)
    return folder


def test_results_hold_both_kinds_of_detections(run, tmp_path):
    save_results(run, tmp_path / "kept")
    kept = json.loads((tmp_path / "kept/metrics.json").read_text())
    assert (kept["seed"], kept["iterations"], kept["images_per_iteration"]) == (3, 40, 8)
    assert kept["raw"]["AP"] == 30.123
    assert kept["raw"]["APl"] is None
    assert (kept["raw"]["duplicates"], kept["nms"]["duplicates"]) == (1.0, 0.0)
    assert kept["raw"]["duplicates in first T"] == kept["raw"]["missed %"] == 0.0
    assert (kept["nms"]["AP"], kept["nms_threshold"]) == (31.0, 0.7)
    assert kept["curve"] == [[20, 10.0], [40, 30.12]]
    assert kept["seconds_per_iteration"] == 0.5
    assert (kept["commit"], kept["machine"]) == (commit(), machine())


def test_config_can_be_trained_and_names_no_folder_of_the_machine(run, tmp_path):
    save_results(run, tmp_path / "kept")
    config = tmp_path / "kept/config.yaml"
    assert str(tmp_path) not in config.read_text()
    assert load_config(config, trust=True).train.seed == 3
    assert sum(path.stat().st_size for path in (tmp_path / "kept").iterdir()) < 20_000


def test_a_resumed_run_keeps_its_provenance(run):
    (run / "provenance.json").write_text('{"commit": "first"}')
    record_provenance(run)
    assert json.loads((run / "provenance.json").read_text()) == {"commit": "first"}


def test_a_run_without_provenance_is_refused(run, tmp_path):
    (run / "provenance.json").unlink()
    with pytest.raises(DataError, match=r"provenance\.json"):
        save_results(run, tmp_path / "kept")


def test_a_package_outside_of_a_checkout_has_no_commit(monkeypatch, tmp_path):
    assert re.fullmatch("[0-9a-f]{40}", commit())
    monkeypatch.setattr("stageinteractor.ablation_results.__file__", str(tmp_path / "file.py"))
    assert commit() == "unknown"
