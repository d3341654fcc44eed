"""Reports of finished runs: tables of AP, curves, and detections beside ground truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from ..files import atomic_path
from .curves import Series, plot_curves, read_metrics
from .detections import comparison_grid
from .error_analysis import read_run


def write_report(output_dir: str | Path) -> str:
    """Write ``curves.png`` and ``val_grid.png`` into the folder of a run; return its table of AP.

    Raises:
        DataError: the folder is not that of an evaluated run.
    """
    folder = Path(output_dir)
    series, detections = read_metrics(folder / "metrics.json"), read_run(folder)
    plot_curves(series, folder / "curves.png")
    grid = comparison_grid(detections.coco_set, detections.image_root, detections.results)
    with atomic_path(folder / "val_grid.png") as temporary:
        grid.save(temporary)
    last, after_nms = final_metrics(series), final_metrics(series, "bbox_nms")
    whole = [name for name in last if not name.startswith("AP-")]
    names = whole + [name for name in last if name.startswith("AP-")]
    columns = [last, after_nms] if after_nms else [last]
    rows = [[name, *(f"{values.get(name, math.nan):.1f}" for values in columns)] for name in names]
    headers = ["validation", "%", "after NMS"][: len(columns) + 1]
    return tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True)


def final_metrics(series: Series, group: str = "bbox") -> dict[str, float]:
    """Return the last value, per cent, of every evaluation measure that has one.

    Args:
        group: "bbox", or "bbox_nms" for the results after NMS.
    """
    return {
        name.removeprefix(f"{group}/"): values[-1]
        for name, (_, values) in series.items()
        if name.startswith(f"{group}/") and not math.isnan(values[-1])
    }


def compare_runs(output_dirs: Sequence[str | Path]) -> str:
    """Return a table of the final AP of several runs."""
    names = ("AP", "AP50", "AP75")
    series = [read_metrics(Path(folder) / "metrics.json") for folder in output_dirs]
    after_nms = [final_metrics(each, "bbox_nms") for each in series]
    rows = []
    for folder, each, nms in zip(output_dirs, series, after_nms, strict=True):
        last = final_metrics(each)
        cells = [last.get(name, math.nan) for name in names]
        cells += [nms.get("AP", math.nan)] if any(after_nms) else []
        rows.append([str(folder), *(f"{value:.1f}" for value in cells)])
    headers = ["run", *names, "AP after NMS"][: len(rows[0])]
    return tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True)
