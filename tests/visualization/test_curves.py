"""Reading and plotting ``metrics.json``."""

import math
from pathlib import Path

import pytest
from PIL import Image
from visualization.metrics_files import write_metrics

from stageinteractor.errors import DataError
from stageinteractor.visualization.curves import plot_curves, read_metrics


def test_metrics_are_read_by_name(tmp_path: Path):
    series = read_metrics(write_metrics(tmp_path))
    assert series["total_loss"] == ([0, 20, 40], [9, 9 / 21, 9 / 41])
    assert series["bbox/AP"] == ([59], [12.25])
    assert math.isnan(series["bbox/APl"][1][0])
    assert "iteration" not in series


def test_missing_metrics_error_has_advice(tmp_path: Path):
    with pytest.raises(DataError, match=r"metrics\.json: no such file; .*stageinteractor train"):
        read_metrics(tmp_path / "metrics.json")


def test_broken_line_of_metrics_is_named(tmp_path: Path):
    path = write_metrics(tmp_path)
    path.write_text(path.read_text() + '{"iteration": 79, "tot')
    with pytest.raises(DataError, match=r"metrics\.json, line 5: not JSON") as caught:
        read_metrics(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("line", ["3", '{"lr": 0.1}'])
def test_line_without_iteration_is_named(tmp_path: Path, line: str):
    path = write_metrics(tmp_path)
    path.write_text(path.read_text() + line)
    with pytest.raises(DataError, match=r"metrics\.json, line 5"):
        read_metrics(path)


def test_curves_show_the_losses_of_the_last_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from matplotlib.axes import Axes

    drawn = []
    monkeypatch.setattr(
        Axes, "legend", lambda axes: drawn.extend(axes.get_legend_handles_labels()[1])
    )
    plot_curves(read_metrics(write_metrics(tmp_path)), tmp_path / "curves.png")
    assert drawn == ["total_loss", "loss_class_10", "AP", "AP50"]
    with Image.open(tmp_path / "curves.png") as image:
        assert image.format == "PNG"
        assert image.width > 1000


@pytest.mark.filterwarnings("error", "ignore::DeprecationWarning")
def test_curves_of_a_run_that_has_just_started(tmp_path: Path):
    plot_curves({}, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        assert image.format == "PNG"
