"""Malformed JSON files of a run: an error of one line that names the file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from malformed_json import ODD_FILES, make_odd

from stageinteractor.data.coco_format import CocoSet
from stageinteractor.errors import DataError
from stageinteractor.evaluation.coco_results import read_results
from stageinteractor.evaluation.measures import read_measures
from stageinteractor.visualization.curves import read_metrics

SET = CocoSet("val.json", [{"id": 3}], [], [{"id": 7, "name": "cat"}])
NUMBERS = {"AP": 30.0, "AP50": 50.0, "AP75": 35.0}
GOOD = {
    "evaluation/metrics.json": NUMBERS,
    "evaluation/metrics_nms.json": {"AP": 31.0},
    "evaluation/ground_truth.json": {
        "images": [{"id": 3, "file_name": "-", "height": 9, "width": 9}],
        "annotations": [],
        "categories": [{"id": 7, "name": "cat"}],
    },
    "evaluation/coco_instances_results.json": [],
    "unstable_score/unstable_score.json": {
        "run": {"mean_unstable_score": 1.0, "labels_added_per_image": [0.5]}
    },
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Folder of a run with every file that a table reads."""
    for name, content in GOOD.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content))
    return tmp_path


def assert_refused(call: Callable[[], Any], path: Path) -> None:
    with pytest.raises(DataError) as caught:
        call()
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


NO_FILES = ("folder", "fifo", "unreadable-link")  # optional files of these kinds are ignored


@pytest.mark.parametrize("kind", ODD_FILES)
@pytest.mark.parametrize("name", GOOD)
def test_measures_name_the_malformed_file(run: Path, name: str, kind: str):
    make_odd(run / name, kind)
    optional = name not in ("evaluation/metrics.json", "evaluation/ground_truth.json")
    if optional and kind in NO_FILES or name.endswith("results.json") and kind == "list":
        assert read_measures(run)["AP"] == 30
    else:
        assert_refused(lambda: read_measures(run), run / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("evaluation/metrics.json", NUMBERS | {"AP": "30"}),
        ("evaluation/metrics.json", NUMBERS | {"AP50": None}),
        ("evaluation/metrics.json", NUMBERS | {"AP-cat": [1]}),
        ("evaluation/metrics_nms.json", {"AP50": 1.0}),
        ("evaluation/metrics_nms.json", {"AP": 10**400}),
        ("unstable_score/unstable_score.json", {"run": 3}),
        ("unstable_score/unstable_score.json", {"run": {"mean_unstable_score": 1.0}}),
        (
            "unstable_score/unstable_score.json",
            {"run": {"mean_unstable_score": "1", "labels_added_per_image": [1]}},
        ),
    ],
)
def test_measures_name_the_file_of_a_malformed_value(run: Path, name: str, content: Any):
    (run / name).write_text(json.dumps(content))
    assert_refused(lambda: read_measures(run), run / name)


@pytest.mark.parametrize("kind", [kind for kind in ODD_FILES if kind != "list"])
def test_results_name_the_malformed_file(tmp_path: Path, kind: str):
    make_odd(tmp_path / "results.json", kind)
    assert_refused(lambda: read_results(tmp_path / "results.json", SET), tmp_path / "results.json")


@pytest.mark.parametrize("field", ["score", "bbox", "image_id", "category_id"])
@pytest.mark.parametrize("value", [10**400, [[]], {}, None, "x", [1, 2, 3, 10**400]])
def test_results_name_the_malformed_value(tmp_path: Path, field: str, value: Any):
    path = tmp_path / "results.json"
    good = {"image_id": 3, "category_id": 7, "bbox": [1, 2, 3.5, 4], "score": 0.5}
    path.write_text(json.dumps([good | {field: value}]))
    assert_refused(lambda: read_results(path, SET), path)


@pytest.mark.parametrize("kind", [kind for kind in ODD_FILES if kind != "empty"])
def test_metrics_name_the_malformed_file(tmp_path: Path, kind: str):
    make_odd(tmp_path / "metrics.json", kind)
    assert_refused(lambda: read_metrics(tmp_path / "metrics.json"), tmp_path / "metrics.json")


@pytest.mark.parametrize("value", [None, "x", [], {}, True, 10**400])
@pytest.mark.parametrize("name", ["iteration", "lr"])
def test_metrics_name_the_line_of_a_malformed_value(tmp_path: Path, name: str, value: Any):
    path = tmp_path / "metrics.json"
    lines = [{"iteration": 1, "lr": 0.1}, {"iteration": 2, "lr": 0.1} | {name: value}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(DataError, match=r"metrics\.json, line 2"):
        read_metrics(path)
