"""AP and loss of several runs over the training, in one figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..config import load_config
from ..data.values import is_number
from .curves import Series, read_metrics
from .figures import as_written, new_figure, save_figure

STYLES = ("-", "--", ":", "-.")


class RunCurves(NamedTuple):
    """What one run gives to the figure."""

    name: str
    series: Series
    epoch_length: float | None  # iterations; None: not known


def read_runs(paths: Sequence[str | Path]) -> list[RunCurves]:
    """Read the metrics of runs and name each by what tells it from the others.

    Args:
        paths: folders of runs, or metrics files such as ``RUN/metrics.previous.json``, which a
            fresh training leaves of the one before it in the same folder.

    Raises:
        DataError: a folder has no metrics, or they cannot be read.
    """
    files = [Path(path) / "metrics.json" if Path(path).is_dir() else Path(path) for path in paths]
    names = _names(files)
    return [
        RunCurves(name, read_metrics(file), _epoch_length(file))
        for name, file in zip(names, files, strict=True)
    ]


def _names(files: Sequence[Path]) -> list[str]:
    """Name runs by the shortest ends of their folders that differ."""
    folders = [file.resolve().parent.parts for file in files]
    labels = ["" if file.stem == "metrics" else f" ({file.stem})" for file in files]
    labels = [label.replace("metrics.", "") for label in labels]
    names: list[str] = []
    for depth in range(1, max(len(parts) for parts in folders) + 1):
        ends = ("/".join(parts[-depth:]) for parts in folders)
        names = [end + label for end, label in zip(ends, labels, strict=True)]
        if len(set(names)) == len(names):
            break
    return names


def _epoch_length(metrics: Path) -> float | None:
    config = metrics.with_name("config.yaml")
    if metrics.name != "metrics.json" or not config.is_file():
        return None  # the config is that of the run that wrote metrics.json
    train = load_config(config, trust=True).get("train", {})
    epochs, max_iter = train.get("epochs"), train.get("max_iter")
    known = is_number(epochs) and epochs > 0 and is_number(max_iter) and max_iter > 0
    return max_iter / epochs if known else None


def plot_convergence(runs: Sequence[RunCurves], path: str | Path) -> None:
    """Draw the AP and the training loss of runs into a picture file.

    The horizontal axis has epochs if every run was set up in epochs, otherwise iterations.
    """
    from matplotlib.ticker import FuncFormatter

    figure = new_figure(12.5, 4.8)
    precision, losses = figure.subplots(1, 2)
    in_epochs = all(run.epoch_length for run in runs)
    for index, run in enumerate(runs):
        style = {"color": f"C{index % 10}", "linestyle": STYLES[index // 10 % len(STYLES)]}
        unit = run.epoch_length if in_epochs and run.epoch_length else 1.0
        at, values = _finite(run.series, "bbox/AP", unit)
        best = f": {values[-1]:.1f}" if values else ": not evaluated"
        label = as_written(run.name) + best
        precision.plot(at, values, marker="o", markersize=4, label=label, **style)
        losses.plot(*_finite(run.series, "total_loss", unit), linewidth=1.2, **style)
    unit_name = "epoch" if in_epochs else "iteration"
    precision.set(title="validation AP, per cent (last value)", xlabel=unit_name, ylim=(0, None))
    precision.legend(loc="lower right", fontsize="small")
    losses.set(title="training loss, all stages", xlabel=unit_name)
    if any(run.series.get("total_loss") for run in runs):
        losses.set_yscale("log")
        for axis_part in (losses.yaxis.set_major_formatter, losses.yaxis.set_minor_formatter):
            axis_part(FuncFormatter(lambda value, _: f"{value:g}"))
    for axes in (precision, losses):
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3, which="both")
    save_figure(figure, path)


def _finite(series: Series, name: str, unit: float) -> tuple[list[float], list[float]]:
    iterations, values = series.get(name, ([], []))
    kept = [(i / unit, v) for i, v in zip(iterations, values, strict=True) if math.isfinite(v)]
    return [at for at, _ in kept], [value for _, value in kept]
