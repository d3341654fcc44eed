"""AP over the training of an ablation's rows, in one figure: mean and range over the seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from ..errors import DataError
from ..json_files import read_json
from .figures import literal_text, new_figure, save_figure


def plot_ablation_curves(folder: str | Path, rows: Sequence[str], path: str | Path) -> None:
    """Plot the validation AP of rows over the iterations into an image file.

    Args:
        folder: of ``stageinteractor ablate --results``, with ``ROW/seed_N/metrics.json``.
        rows: a line each; the band is from the lowest to the highest seed.

    Raises:
        DataError: a row has no results, or its seeds were not evaluated at the same iterations.
    """
    figure = new_figure(7.5, 4.8)
    axes = figure.subplots()
    for row in rows:
        at, seeds = _curves(Path(folder) / row)
        means = [statistics.mean(values) for values in zip(*seeds, strict=True)]
        label = f"{literal_text(row)}, {len(seeds)} seed{'s' * (len(seeds) > 1)}"
        (line,) = axes.plot(at, means, marker="o", markersize=4, label=label)
        lowest, highest = ([f(v) for v in zip(*seeds, strict=True)] for f in (min, max))
        axes.fill_between(at, lowest, highest, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set(title="validation AP, mean and range", xlabel="iteration", ylim=(0, None))
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", fontsize="small")
    save_figure(figure, path)


def _curves(row: Path) -> tuple[list[int], list[list[float]]]:
    """Return the iterations of the evaluations, and the AP of every seed at them."""
    files = sorted(row.glob("seed_*/metrics.json"))
    if not files:
        raise DataError(f"{row}: no seed_N/metrics.json there; run the row with --results")
    curves = [read_json(file, dict, "run the row again")["curve"] for file in files]
    iterations = [[at for at, _ in curve] for curve in curves]
    if any(each != iterations[0] for each in iterations) or not iterations[0]:
        raise DataError(f"{row}: its seeds were not evaluated at the same iterations")
    return iterations[0], [[value for _, value in curve] for curve in curves]
