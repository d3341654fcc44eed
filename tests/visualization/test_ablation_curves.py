"""The curves of an ablation's rows: mean and range of the seeds."""

import json
from pathlib import Path
from typing import Any

import pytest

from stageinteractor.errors import DataError
from stageinteractor.visualization.ablation_curves import plot_ablation_curves


def save(folder: Path, row: str, *curves: list[float]) -> None:
    for seed, values in enumerate(curves):
        run = folder / row / f"seed_{seed}"
        run.mkdir(parents=True)
        curve = [[100 * i, value] for i, value in enumerate(values, start=1)]
        (run / "metrics.json").write_text(json.dumps({"curve": curve}))


def test_a_line_is_the_mean_of_the_seeds(tmp_path: Path, figures: list[Any]):
    save(tmp_path, "per-stage", [10, 30], [20, 50])
    save(tmp_path, "copies", [5, 45.5])
    plot_ablation_curves(tmp_path, ["per-stage", "copies"], tmp_path / "curves.png")
    (axes,) = figures[0].axes
    assert [list(line.get_xdata()) for line in axes.lines] == [[100, 200]] * 2
    assert [list(line.get_ydata()) for line in axes.lines] == [[15, 40], [5, 45.5]]
    labels = [line.get_label() for line in axes.lines]
    assert labels == ["per-stage, 2 seeds", "copies, 1 seed"]
    ranges = [band.get_datalim(axes.transData).get_points()[:, 1] for band in axes.collections]
    assert [list(ends) for ends in ranges] == [[10, 50], [5, 45.5]]


def test_seeds_of_other_evaluations_and_missing_rows_are_refused(tmp_path: Path):
    save(tmp_path, "per-stage", [10, 30], [20])
    with pytest.raises(DataError, match=r"per-stage: its seeds were not evaluated at the same"):
        plot_ablation_curves(tmp_path, ["per-stage"], tmp_path / "curves.png")
    with pytest.raises(DataError, match=r"copies: no seed_N/metrics\.json"):
        plot_ablation_curves(tmp_path, ["copies"], tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()
