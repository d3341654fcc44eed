"""Read and plot the curves of a training run from its ``metrics.json``."""

from __future__ import annotations

from pathlib import Path

from ..errors import DataError
from ..json_files import is_metric_value, kind_of, read_json_lines
from .figures import new_figure, save_figure

Series = dict[str, tuple[list[int], list[float]]]


def read_metrics(path: str | Path) -> Series:
    """Return iterations and values of every scalar in a file with one JSON object per line.

    For iterations that a resumed run repeats, the last value is kept. The file of a run that has
    just started is empty.

    Raises:
        DataError: no such file, or a line that is not a JSON object of numbers.
    """
    file = Path(path)
    if file.is_file() and not file.stat().st_size:
        return {}
    values: dict[str, dict[int, float]] = {}
    for number, entry in read_json_lines(file, "it is written by stageinteractor train"):
        iteration = entry.pop("iteration", None)
        if not isinstance(iteration, int) or not is_metric_value(iteration):
            raise DataError(f"{path}, line {number}: expected an object with 'iteration'")
        for name, value in entry.items():
            if not is_metric_value(value):
                kind = kind_of(value)
                raise DataError(f"{path}, line {number}: {name!r} is {kind}, no number in range")
            values.setdefault(name, {})[iteration] = value
    return {name: _sorted(each) for name, each in values.items()}


def _sorted(values: dict[int, float]) -> tuple[list[int], list[float]]:
    iterations = sorted(values)
    return iterations, [values[iteration] for iteration in iterations]


def plot_curves(series: Series, path: str | Path) -> None:
    """Plot losses, learning rate and AP over the iterations into an image file."""
    figure = new_figure(13, 3.8)
    losses, rate, precision = figure.subplots(1, 3)
    for name in ["total_loss", *_last_stage_losses(series)]:
        if name in series:
            losses.plot(*series[name], label=name)
    losses.set(title="training loss (median of 20)", xlabel="iteration", yscale="log")
    if "lr" in series:
        rate.plot(*series["lr"], color="tab:gray")
    rate.set(title="learning rate", xlabel="iteration")
    for name in ("bbox/AP", "bbox/AP50", "bbox/AP75"):
        if name in series:
            precision.plot(*series[name], marker="o", label=name.removeprefix("bbox/"))
    precision.set(title="validation, per cent", xlabel="iteration", ylim=(0, None))
    for axes in (losses, precision):
        if axes.lines:
            axes.legend()
    for axes in (losses, rate, precision):
        axes.grid(alpha=0.3)
    save_figure(figure, path)


def _last_stage_losses(series: Series) -> list[str]:
    losses = [name.rsplit("_", 1) for name in series if name.startswith("loss_class_")]
    stages = [stage for _, stage in losses if stage.isdecimal()]
    if not stages:
        return []
    last = max(stages, key=int)
    return [f"loss_{kind}_{last}" for kind in ("class", "bbox", "giou")]
