"""Tools on a run with malformed files: exit code 2 and one line that names the file."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from malformed_json import make_odd
from PIL import Image

from stageinteractor.engine.replay import Replay

MALFORMED = ("truncated", "list-of-numbers", "nested-lists", "5000-digits", "binary", "latin-1")
FILES = ("metrics.json", "evaluation/coco_instances_results.json")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Folder of a run on one image with one box, and one detection."""
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    box = {"image_id": 1, "category_id": 5, "bbox": [4, 4, 20, 20]}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
        "annotations": [box | {"id": 1}],
        "categories": [{"id": 5, "name": "thing"}],
    }
    (tmp_path / "val.json").write_text(json.dumps(content))
    folder = tmp_path / "run"
    (folder / "evaluation").mkdir(parents=True)
    val = {"json": str(tmp_path / "val.json"), "images": str(tmp_path)}
    (folder / "config.yaml").write_text(json.dumps({"dataset": {"name": "tiny", "val": val}}))
    (folder / "metrics.json").write_text('{"iteration": 1, "bbox/AP": 1.0}\n')
    (folder / FILES[1]).write_text(json.dumps([box | {"score": 0.9}]))
    return folder


@pytest.fixture
def refused(
    load_tool: Callable, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run a tool; return the one line that it ends with."""

    def call(tool: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [tool, *map(str, arguments)])
        assert load_tool(tool).main() == 2
        (line,) = [each for each in capsys.readouterr().err.splitlines() if each]
        assert line.startswith("error: ")
        return line

    return call


@pytest.mark.parametrize("kind", MALFORMED)
@pytest.mark.parametrize("name", FILES)
def test_report_names_the_malformed_file(
    run: Path, refused: Callable[..., str], name: str, kind: str
):
    make_odd(run / name, kind)
    assert str(run / name) in refused("report", run)
    assert not (run / "curves.png").exists()


@pytest.mark.parametrize("name", ["metrics.json", "metrics.previous.json"])
@pytest.mark.parametrize("kind", MALFORMED)
def test_curves_name_the_malformed_file(
    run: Path, refused: Callable[..., str], name: str, kind: str
):
    make_odd(run / name, kind)
    assert str(run / name) in refused("visualize", run)
    assert str(run / name) in refused("visualize", run, run / name)


@pytest.mark.parametrize("kind", ["truncated", "nested-lists"])
def test_results_of_other_detectors_name_the_malformed_file(
    run: Path, refused: Callable[..., str], kind: str
):
    results = run / "theirs.json"
    make_odd(results, kind)
    truth = ["--json", run.parent / "val.json", "--images", run.parent]
    line = refused("visualize", *truth, "--results", results, "--output", run / "out")
    assert str(results) in line


def test_replay_escapes_ids_from_data(load_tool, monkeypatch, capsys, tmp_path: Path):
    tool = load_tool("replay")
    step = Replay(3, 0, "off", [{"image_id": "\x1b[2Jframe"}])
    monkeypatch.setattr(tool, "replay", lambda *_: step)
    (tmp_path / "config.yaml").write_text("train: {device: cpu}\n")
    monkeypatch.setattr(sys, "argv", ["replay", str(tmp_path / "non_finite_0000003_rank0.pth")])
    assert tool.main() == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed and "\\x1b[2Jframe" in printed
