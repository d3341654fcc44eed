"""AP and loss of several runs over the training, in one figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..config import load_config
from ..data.values import is_number
from .curves import Series, read_metrics
from .figures import literal_text, new_figure, save_figure
from .run_names import shortest_names

STYLES = ("-", "--", ":", "-.")


class RunCurves(NamedTuple):
    """The curves of one run."""

    name: str
    series: Series
    epoch_length: float | None  # iterations; None: unknown


def read_runs(paths: Sequence[str | Path]) -> list[RunCurves]:
    """Read the metrics of runs, each named by the part of its path that differs.

    Args:
        paths: folders of runs, or metrics files such as ``RUN/metrics.previous.json``, the metrics
            of the previous training in the same folder.

    Raises:
        DataError: a folder has no metrics, or they cannot be read.
    """
    files = [Path(path) / "metrics.json" if Path(path).is_dir() else Path(path) for path in paths]
    # "metrics" -> "", "metrics.previous" -> " (previous)"
    labels = [
        "" if file.stem == "metrics" else f" ({file.stem.removeprefix('metrics.')})"
        for file in files
    ]
    names = shortest_names([file.resolve().parent for file in files], labels)
    return [
        RunCurves(name, read_metrics(file), _epoch_length(file))
        for name, file in zip(names, files, strict=True)
    ]


def _epoch_length(metrics: Path) -> float | None:
    config = metrics.with_name("config.yaml")
    if metrics.name != "metrics.json" or not config.is_file():
        return None  # config.yaml belongs to the run that wrote metrics.json
    train = load_config(config, trust=True).get("train", {})
    epochs, max_iter = train.get("epochs"), train.get("max_iter")
    is_known = is_number(epochs) and epochs > 0 and is_number(max_iter) and max_iter > 0
    return max_iter / epochs if is_known else None


def plot_convergence(runs: Sequence[RunCurves], path: str | Path) -> None:
    """Plot validation AP and training loss of runs into an image file.

    The x axis shows epochs if every run sets ``train.epochs``, otherwise iterations.
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
        label = literal_text(run.name) + best
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
