"""Histograms of a data set: boxes per class, sizes and aspect ratios of boxes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .figures import literal_text, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_ROWS = 40  # classes in a column
MAX_CLASSES = 120  # in the figure
MAX_LINEAR_RATIO = 100  # of the largest and smallest class; above it the axis is logarithmic
SMALL, LARGE = 32, 96  # pixels, COCO's limits of small, medium and large


def plot_classes(counts: Mapping[str, int], path: str | Path) -> None:
    """Plot a bar for every class, the most frequent first, into an image file.

    Args:
        counts: number of objects by class name; of more than 120 classes the rarest are left out.
    """
    from matplotlib.ticker import MaxNLocator

    ranked = sorted(counts.items(), key=lambda item: -item[1])[:MAX_CLASSES]
    columns = max(1, math.ceil(len(ranked) / MAX_ROWS))
    rows = math.ceil(len(ranked) / columns)
    size = (6.5 if columns == 1 else 4.5 * columns, 1.2 + 0.24 * max(rows, 2))
    figure = new_figure(*size)
    grid = figure.subplots(1, columns, squeeze=False)[0]
    present = [count for _, count in ranked if count] or [1]
    for column, axes in enumerate(grid):
        _bars(axes, ranked[column * rows : (column + 1) * rows], rows)
        if max(present) > MAX_LINEAR_RATIO * min(present):
            axes.set_xscale("symlog", linthresh=1)
            axes.set_xlim(0, max(present) ** 1.3)
            axes.set_xlabel("objects, logarithmic", fontsize=9)
        else:
            axes.set_xlim(0, 1.18 * max(present))
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    total, left_out = sum(counts.values()), len(counts) - len(ranked)
    shown = f", {left_out} rarer ones not shown" if left_out else ""
    figure.suptitle(f"objects: {total:,}; classes: {len(counts):,}{shown}", fontsize=11)
    save_figure(figure, path)


def _bars(axes: Axes, items: Sequence[tuple[str, int]], rows: int) -> None:
    names = [literal_text(name if len(name) <= 24 else name[:23] + "…") for name, _ in items]
    bars = axes.barh(range(len(items)), [count for _, count in items], height=0.75)
    axes.bar_label(bars, [f"{count:,}" for _, count in items], padding=3, fontsize=8)
    axes.set_yticks(range(len(items)), names, fontsize=8)
    axes.set_ylim(rows - 0.4, -0.6)
    axes.set_xlabel("objects", fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def plot_boxes(sizes: Sequence[tuple[float, float]], path: str | Path) -> None:
    """Plot histograms of the size and aspect ratio of boxes into an image file.

    Args:
        sizes: (width, height) of every box, pixels, above 0.
    """
    figure = new_figure(10, 3.8)
    side, shape = figure.subplots(1, 2)
    sides = [math.sqrt(width * height) for width, height in sizes]
    _log_histogram(side, sides, step=4)
    side.set(title=_size_title(sides), xlabel="square root of the area, pixels", ylabel="boxes")
    for limit in (SMALL, LARGE):
        side.axvline(limit, color="tab:red", linestyle="--", linewidth=1)
    _log_histogram(shape, [width / height for width, height in sizes], step=4)
    shape.set(title="aspect ratio", xlabel="width / height", ylabel="boxes")
    shape.axvline(1, color="tab:red", linestyle="--", linewidth=1)
    for axes in (side, shape):
        axes.title.set_fontsize(10)
        axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def _size_title(sides: Sequence[float]) -> str:
    """Return the title: the shares of COCO's small, medium and large boxes."""
    small, large = sum(s < SMALL for s in sides), sum(s > LARGE for s in sides)
    parts = {"small": small, "medium": len(sides) - small - large, "large": large}
    shares = ", ".join(f"{100 * n / max(1, len(sides)):.0f}% {name}" for name, n in parts.items())
    return f"boxes: {len(sides):,}; {shares} (limits {SMALL} and {LARGE})"


def _log_histogram(axes: Axes, values: Sequence[float], step: int) -> None:
    """Plot a histogram with ``step`` bins an octave and powers of two as ticks.

    Values outside 2**-10 to 2**20 are counted in the outermost bins.
    """
    from matplotlib.ticker import MaxNLocator

    values = [min(max(value, 2.0**-10), 2.0**20) for value in values]
    logs = [math.log2(value) for value in values] or [0.0]
    first, last = math.floor(min(logs)), math.ceil(max(logs) + 1e-9)
    edges = [2 ** (first + i / step) for i in range((last - first) * step + 1)]
    axes.hist(values, bins=edges)
    axes.set_xscale("log", base=2)
    ticks = range(first, last + 1, max(1, math.ceil((last - first) / 10)))
    axes.set_xticks([2.0**power for power in ticks], [_power(power) for power in ticks])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))


def _power(exponent: int) -> str:
    return str(2**exponent) if exponent >= 0 else f"1/{2**-exponent}"
