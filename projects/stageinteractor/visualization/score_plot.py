"""Precision, recall and F1 over the score threshold, with the thresholds of best F1."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..evaluation.score_thresholds import ScoreCurve, best_score
from .figures import literal_text, new_figure, save_figure
from .pr_curves import MAX_COLORED


def plot_score_curves(
    curves: Mapping[Any, ScoreCurve], names: Mapping[Any, str], path: str | Path
) -> None:
    """Plot the curves of all classes together, and the F1 of every class, at IoU 0.5.

    Args:
        curves: of `score_curves`.
        names: of the classes, by category id.
    """
    figure = new_figure(14, 5)
    overall, classes = figure.subplots(1, 2, sharey=True)
    both = curves[None]
    for label, values in (("precision", both.precision), ("recall", both.recall), ("F1", both.f1)):
        overall.plot(both.scores, values, label=label)
    best = best_score(both)
    if best is not None:
        label = f"best F1 {100 * best.f1:.1f} % at {best.score:.3f}"
        overall.axvline(best.score, color="0.4", linestyle=":", label=label)
    overall.set(title="all classes, IoU 0.50", xlabel="score threshold", ylabel="share")
    pairs = [(key, best) for key in names if (best := best_score(curves[key])) is not None]
    order = sorted(pairs, key=lambda pair: -pair[1].f1)
    named = order if len(order) <= MAX_COLORED else order[:2] + order[-5:]
    for key, best in order:
        (line,) = classes.plot(curves[key].scores, curves[key].f1, color="0.85", linewidth=0.8)
        if (key, best) in named:
            line.set(color=f"C{named.index((key, best)) % 10}", linewidth=1.5)
            line.set_label(f"{literal_text(names[key])}: {100 * best.f1:.1f} % at {best.score:.3f}")
    many = "; named: 2 best, 5 worst" if len(named) < len(order) else ""
    classes.set(title=f"F1 of every class{many}", xlabel="score threshold")
    for axes in (overall, classes):
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small", frameon=False)
    save_figure(figure, path)
