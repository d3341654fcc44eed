"""Tables and figures of finished runs."""

import json
from pathlib import Path

import pytest
from PIL import Image
from visualization.metrics_files import write_metrics

from stageinteractor.data.coco_format import CocoSet
from stageinteractor.errors import DataError
from stageinteractor.visualization.detections import comparison_grid
from stageinteractor.visualization.run_report import compare_runs, write_report


@pytest.fixture
def run_folder(coco_set: CocoSet, results: list[dict], tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "evaluation").mkdir(parents=True)
    write_metrics(folder)
    with (folder / "metrics.json").open("a") as file:
        later = {"iteration": 99, "bbox/AP-car": 31.0, "bbox/AP": 22.16, "bbox/AP50": 40.0}
        file.write(json.dumps(later) + "\n")
    (folder / "evaluation" / "coco_instances_results.json").write_text(json.dumps(results))
    val = {"json": coco_set.json_file, "images": str(tmp_path / "photos")}
    (folder / "config.yaml").write_text(json.dumps({"dataset": {"name": "tiny", "val": val}}))
    return folder


def test_report_is_the_table_of_the_last_evaluation(run_folder: Path):
    rows = [line.split() for line in write_report(run_folder).splitlines()]
    assert rows[0] == ["validation", "%"]
    names, values = zip(*rows[2:], strict=True)
    assert names == ("AP", "AP50", "AP-car")  # APl is NaN
    assert values == ("22.2", "40.0", "31.0")


def test_report_of_an_evaluation_with_nms_has_both_results(run_folder: Path):
    assert compare_runs([run_folder]).splitlines()[0].split() == ["run", "AP", "AP50", "AP75"]
    with (run_folder / "metrics.json").open("a") as file:
        later = {"iteration": 99, "bbox_nms/AP": 23.0, "bbox_nms/AP-car": 30.0}
        file.write(json.dumps(later) + "\n")
    head, _, *rows = write_report(run_folder).splitlines()
    assert head.split() == ["validation", "%", "after", "NMS"]
    assert [row.split() for row in rows] == [
        ["AP", "22.2", "23.0"],
        ["AP50", "40.0", "nan"],
        ["AP-car", "31.0", "30.0"],
    ]
    head, _, row = compare_runs([run_folder]).splitlines()
    assert head.split() == ["run", "AP", "AP50", "AP75", "AP", "after", "NMS"]
    assert row.split()[1:] == ["22.2", "40.0", "nan", "23.0"]


def test_report_writes_two_figures(
    run_folder: Path, coco_set: CocoSet, results: list[dict], tmp_path: Path
):
    before = {path.name for path in run_folder.iterdir()}
    write_report(str(run_folder))
    written = {path.name for path in run_folder.iterdir()} - before
    assert written == {"curves.png", "val_grid.png"}
    expected = comparison_grid(coco_set, tmp_path / "photos", results)
    with Image.open(run_folder / "val_grid.png") as image:
        assert image.tobytes() == expected.tobytes()


def test_report_without_evaluation_is_refused(run_folder: Path):
    (run_folder / "evaluation" / "coco_instances_results.json").unlink()
    with pytest.raises(DataError, match=r"coco_instances_results\.json: no such file; let the"):
        write_report(run_folder)
