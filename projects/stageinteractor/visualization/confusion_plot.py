"""The figure of a confusion matrix with a row and a column for background."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .figures import literal_text, new_figure, save_figure

MAX_NUMBERED = 25  # matrices of more rows have no numbers in their cells


def row_percentages(matrix: np.ndarray) -> np.ndarray:
    """Return counts (R, R) in per cent of their row's sum; a row without counts is zero."""
    total = matrix.sum(axis=1, keepdims=True)
    return 100.0 * matrix / np.maximum(total, 1)


def plot_confusion(
    matrix: np.ndarray, class_names: Sequence[str], min_score: float, path: str | Path
) -> None:
    """Plot a confusion matrix, each row in per cent of its sum, into an image file.

    Row labels include the row's sum: boxes of a class, or unmatched detections.

    Args:
        matrix: (C + 1, C + 1) counts of `confusion_matrix`, background last.
        min_score: lowest score of the counted detections.
    """
    from matplotlib.colors import PowerNorm

    percentages = row_percentages(matrix)
    size = len(matrix)
    side = max(3.6, min(0.55, 6 / size + 0.12) * size)
    figure = new_figure(side + 2.4, side + 1.4)
    axes = figure.subplots()
    norm = PowerNorm(0.5, vmin=0, vmax=100)  # so that a few per cent are visible
    heatmap = axes.imshow(percentages, cmap="Blues", norm=norm)
    font = 9 if size <= MAX_NUMBERED else 7
    ticks, class_names = range(size), list(map(literal_text, class_names))
    axes.set_xticks(ticks, [*class_names, "missed"], rotation=90, fontsize=font)
    rows = zip([*class_names, "background"], matrix.sum(axis=1), strict=True)
    axes.set_yticks(ticks, [f"{name} ({total})" for name, total in rows], fontsize=font)
    axes.set_xticks(np.arange(-0.5, size), minor=True)
    axes.set_yticks(np.arange(-0.5, size), minor=True)
    axes.grid(which="minor", color="0.88", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    for edge in (axes.axhline, axes.axvline):
        edge(size - 1.5, color="0.3", linewidth=1)
    if size <= MAX_NUMBERED:
        for row, column in zip(*matrix.nonzero(), strict=True):
            color = "white" if percentages[row, column] > 40 else "black"
            text = f"{percentages[row, column]:.0f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
    axes.set(xlabel="detected class", ylabel="true class (number of boxes)")
    axes.set_title(f"per cent of the row; IoU >= 0.5, score >= {min_score:g}", fontsize=10)
    figure.colorbar(heatmap, ax=axes, shrink=0.6, ticks=[0, 1, 5, 10, 25, 50, 100])
    save_figure(figure, path)
