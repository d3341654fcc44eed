"""Several runs in one figure: names, values and the unit of the axis."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from stageinteractor.errors import DataError
from stageinteractor.visualization.convergence import plot_convergence, read_runs


def make_run(folder: Path, ap: list[float], name: str = "metrics.json") -> Path:
    """A run of 100 iterations per value."""
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[dict[str, Any]] = []
    for index, value in enumerate(ap, start=1):
        lines.append({"iteration": 100 * index - 1, "total_loss": 30 / index})
        lines.append({"iteration": 100 * index, "bbox/AP": value})
    (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def set_up(folder: Path, **train: Any) -> None:
    (folder / "config.yaml").write_text(json.dumps({"train": train}))


def draw(paths: list[Path], target: Path, figures: list[Any]) -> tuple[Any, Any]:
    plot_convergence(read_runs(paths), target)
    return tuple(figures[-1].axes)


def test_ap_and_loss_of_every_run(tmp_path: Path, figures: list[Any]):
    runs = [make_run(tmp_path / "full", [10, 20.25]), make_run(tmp_path / "no_reuse", [5, 15, 30])]
    precision, losses = draw(runs, tmp_path / "convergence.png", figures)
    assert [line.get_label() for line in precision.lines] == ["full: 20.2", "no_reuse: 30.0"]
    assert [list(line.get_ydata()) for line in precision.lines] == [[10, 20.25], [5, 15, 30]]
    assert list(precision.lines[1].get_xdata()) == [100, 200, 300]
    assert [list(line.get_ydata()) for line in losses.lines] == [[30, 15], [30, 15, 10]]
    assert list(losses.lines[0].get_xdata()) == [99, 199]
    assert precision.get_xlabel() == losses.get_xlabel() == "iteration"
    one, other = (line.get_color() for line in precision.lines)
    assert one != other
    assert [line.get_color() for line in losses.lines] == [one, other]
    assert losses.get_yscale() == "log"
    with Image.open(tmp_path / "convergence.png") as image:
        assert image.width > 1000


def test_axis_has_epochs_if_all_runs_set_epochs(tmp_path: Path, figures: list[Any]):
    runs = [make_run(tmp_path / name, [10, 20]) for name in ("small_batch", "large_batch")]
    set_up(runs[0], max_iter=200, epochs=4)
    set_up(runs[1], max_iter=200, epochs=8)
    precision, losses = draw(runs, tmp_path / "convergence.png", figures)
    assert [list(line.get_xdata()) for line in precision.lines] == [[2, 4], [4, 8]]
    assert precision.get_xlabel() == losses.get_xlabel() == "epoch"
    set_up(runs[1], max_iter=200, epochs=None)
    precision, _ = draw(runs, tmp_path / "convergence.png", figures)
    assert [list(line.get_xdata()) for line in precision.lines] == [[100, 200]] * 2


@pytest.mark.filterwarnings("error")
def test_run_that_has_just_started_can_be_plotted(tmp_path: Path, figures: list[Any]):
    (tmp_path / "metrics.json").write_text("")
    precision, losses = draw([tmp_path], tmp_path / "convergence.png", figures)
    assert len(precision.lines) == len(losses.lines) == 1


def test_folder_without_metrics_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"metrics\.json: no such file"):
        read_runs([tmp_path])
