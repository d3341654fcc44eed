"""Precision-recall curves and AP per class, from the precision array of COCO's evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..evaluation.backends import class_ap, precision_array, threshold_index
from .figures import literal_text, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pycocotools.cocoeval import COCOeval

MAX_COLORED = 12  # classes; of more, only the best and worst have a colour
MAX_ROWS = 40  # bars in a column


def plot_precision_recall(
    evaluation: COCOeval, class_names: Sequence[str], path: str | Path
) -> None:
    """Plot precision over recall: the mean over classes by IoU, and every class at IoU 0.5.

    Args:
        class_names: K names, in the order of the category ids.
    """
    from matplotlib import colormaps

    precision = precision_array(evaluation)
    precision = precision[:, :, ~np.isnan(precision).all(axis=(0, 1))]
    recall = np.asarray(evaluation.params.recThrs)
    figure = new_figure(14, 5)
    mean, classes = figure.subplots(1, 2, sharey=True)
    thresholds = evaluation.params.iouThrs
    for index, threshold in enumerate(thresholds):
        curve = precision[index].mean(axis=1)
        color = colormaps["viridis"](index / max(1, len(thresholds)))
        label = f"IoU {threshold:.2f}: AP {100 * curve.mean():.1f}"
        mean.plot(recall, curve, color=color, label=label)
    mean.set(title="mean over classes", xlabel="recall", ylabel="precision")
    _plot_classes(classes, evaluation, class_names, recall)
    many = "; named: 2 best, 5 worst" if precision.shape[2] > MAX_COLORED else ""
    classes.set(title=f"every class, IoU 0.50{many}", xlabel="recall")
    for axes in (mean, classes):
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small", frameon=False)
    save_figure(figure, path)


def _plot_classes(
    axes: Axes, evaluation: COCOeval, class_names: Sequence[str], recall: np.ndarray
) -> None:
    """Plot a curve for each class; of many, only the two best and five worst have a colour."""
    from matplotlib import colormaps

    curves = precision_array(evaluation)[threshold_index(evaluation, 0.5)]
    _, ap50 = class_ap(evaluation)
    order = [int(k) for k in np.argsort(-ap50) if not math.isnan(ap50[k])]
    named = order if len(order) <= MAX_COLORED else order[:2] + order[-5:]
    for k in order:
        if k not in named:
            axes.plot(recall, curves[:, k], color="0.85", linewidth=0.8)
    for position, k in enumerate(named):
        color = colormaps["tab20"](position % 20) if len(named) > 10 else f"C{position}"
        axes.plot(
            recall,
            curves[:, k],
            color=color,
            label=f"{literal_text(class_names[k])}: {ap50[k]:.1f}",
        )


def plot_class_ap(
    evaluation: COCOeval, class_names: Sequence[str], counts: Sequence[int], path: str | Path
) -> None:
    """Plot AP and AP50 of every class as bars, the best first.

    Args:
        counts: ground-truth boxes of each class, for its label.
    """
    ap, ap50 = class_ap(evaluation)
    order = sorted(range(len(ap)), key=lambda k: (math.isnan(ap[k]), -ap[k]))
    columns = math.ceil(len(order) / MAX_ROWS)
    rows = math.ceil(len(order) / columns)
    figure = new_figure(6.5 * columns, 0.24 * rows + 1.3)
    panels = figure.subplots(1, columns, squeeze=False)[0]
    for column, axes in enumerate(panels):
        shown = order[column * rows : (column + 1) * rows]
        places = range(len(shown))
        axes.barh(places, ap50[shown], height=0.72, color="#c6dbef", label="AP50")
        axes.barh(places, ap[shown], height=0.72, color="#2171b5", label="AP")
        for place, k in enumerate(shown):
            text = "no objects" if math.isnan(ap[k]) else f"{ap[k]:.1f} / {ap50[k]:.1f}"
            at = 1.0 if math.isnan(ap50[k]) else ap50[k] + 1
            axes.text(at, place, text, va="center", fontsize=8)
        axes.set_yticks(
            places, [f"{literal_text(class_names[k])}  ({counts[k]})" for k in shown], fontsize=8
        )
        axes.set(xlim=(0, 116), ylim=(rows - 0.4, -0.6), xlabel="per cent")
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
        axes.set_xticks(range(0, 101, 20))
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=2, fontsize="small", frameon=False)
    mean, mean50 = np.nanmean(ap), np.nanmean(ap50)
    title = f"AP / AP50 of each class (its objects); mean {mean:.1f} / {mean50:.1f}"
    figure.suptitle(title, fontsize=11)
    save_figure(figure, path)
