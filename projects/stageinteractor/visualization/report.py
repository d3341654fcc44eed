"""What finished runs look like: tables of AP, curves, and predictions beside ground truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from ..files import atomic_path
from .curves import Series, plot_curves, read_metrics
from .detections import comparison_grid
from .results import read_run


def write_report(output_dir: str | Path) -> str:
    """Write ``curves.png`` and ``val_grid.png`` into the folder of a run; return its table of AP.

    Raises:
        DataError: the folder is not that of an evaluated run.
    """
    folder = Path(output_dir)
    series = read_metrics(folder / "metrics.json")
    plot_curves(series, folder / "curves.png")
    found = read_run(folder)
    grid = comparison_grid(found.coco_set, found.image_root, found.results)
    with atomic_path(folder / "val_grid.png") as temporary:
        grid.save(temporary)
    last = final_metrics(series)
    whole = {name: value for name, value in last.items() if not name.startswith("AP-")}
    classes = {name: value for name, value in last.items() if name.startswith("AP-")}
    rows = [[name, f"{value:.1f}"] for name, value in (whole | classes).items()]
    return tabulate(rows, headers=["validation", "%"], tablefmt="simple", disable_numparse=True)


def final_metrics(series: Series) -> dict[str, float]:
    """Return the last value, per cent, of every evaluation measure that has one."""
    return {
        name.removeprefix("bbox/"): values[-1]
        for name, (_, values) in series.items()
        if name.startswith("bbox/") and not math.isnan(values[-1])
    }


def compare_runs(output_dirs: Sequence[str | Path]) -> str:
    """Return a table of the final AP of several runs."""
    names = ("AP", "AP50", "AP75")
    rows = []
    for folder in output_dirs:
        last = final_metrics(read_metrics(Path(folder) / "metrics.json"))
        rows.append([str(folder), *(f"{last.get(name, math.nan):.1f}" for name in names)])
    return tabulate(rows, headers=["run", *names], tablefmt="simple", disable_numparse=True)
