"""t-SNE of the queries' content vectors, stage by stage, coloured by ground-truth class.

In: a trained `StageInteractor` and annotated images. Out: a figure with a panel for every stage,
all with the same queries. Paper: figure 2 of the appendix.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..assigner.boxes import box_iou
from ..errors import DataError, UnsupportedHostError
from ..packages import require
from .box_drawing import class_color
from .figures import literal_text, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 4
MIN_POINTS = 10  # for t-SNE


@dataclass(frozen=True)
class QueryContent:
    """Content vectors and classes of M confident queries."""

    content: Tensor  # (S, M, D)
    classes: Tensor  # (M,) class of the gt box with IoU >= 0.5 at the last stage, or -1
    predicted: Tensor  # (M,) class with the highest score of the detections


@torch.no_grad()
def collect_content(
    model: Any, batched_inputs: Iterable[dict[str, Any]], min_score: float = 0.3
) -> QueryContent:
    """Run a model and return the content vectors of its confident queries.

    Args:
        model: a `StageInteractor`.
        batched_inputs: images as in training, with "image" (3, H, W) and "instances".
        min_score: queries whose highest score, after duplicate removal if there is one, is lower
            are left out.

    Raises:
        UnsupportedHostError: a third-party model.
    """
    if not hasattr(model, "decode"):
        raise UnsupportedHostError(
            f"{type(model).__name__} has no method 'decode' that returns content vectors: only "
            "StageInteractor and AdaMixer have"
        )
    model.eval()
    parts = []
    for item in batched_inputs:
        image = model.normalize(item["image"])
        output, _ = model.decode(model.pad([image]), [image])
        scores, predicted = output.final_logits[0].float().sigmoid().max(dim=-1)  # (N,)
        kept = scores >= min_score
        classes = _gt_class(output.boxes[-1, 0, kept], model.target(item["instances"]))
        parts.append((output.content[:, 0, kept].float(), classes, predicted[kept]))
    return QueryContent(
        content=torch.cat([content for content, _, _ in parts], dim=1).cpu(),
        classes=torch.cat([classes for _, classes, _ in parts]).cpu(),
        predicted=torch.cat([predicted for _, _, predicted in parts]).cpu(),
    )


def _gt_class(boxes: Tensor, target: dict[str, Tensor]) -> Tensor:
    """Return the class (M,) of the gt box of highest IoU with each box (M, 4), -1 if below 0.5."""
    if len(target["labels"]) == 0:
        return torch.full((len(boxes),), -1, device=boxes.device)
    overlap, index = box_iou(boxes[:, None], target["boxes"][None]).max(dim=-1)
    return torch.where(overlap >= 0.5, target["labels"][index], -1)


def embed(content: Tensor) -> np.ndarray:
    """Embed vectors (M, D) in the plane (M, 2) by t-SNE with a fixed seed.

    Raises:
        DataError: fewer than 10 vectors.
        MissingDependencyError: scikit-learn is not installed.
    """
    if len(content) < MIN_POINTS:
        raise DataError(
            f"{len(content)} queries are too few for t-SNE, which needs {MIN_POINTS}: give more "
            "images or a lower --min-score"
        )
    manifold = require("sklearn.manifold", "t-SNE")
    perplexity = min(30.0, (len(content) - 1) / 3)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="sklearn")
        return manifold.TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(
            content.numpy()
        )


def plot_embedding(
    points: Sequence[np.ndarray],
    queries: QueryContent,
    class_names: Sequence[str],
    path: str | Path,
) -> None:
    """Plot the queries of every stage into an image file.

    A point has the colour of its ground-truth class. It is a cross if the query predicts another
    class, and small and grey if no gt box has IoU >= 0.5. At the last stage each class name is
    written at the median of its points.

    Args:
        points: S arrays (M, 2) of `embed`.
    """
    columns = min(COLUMNS, len(points))
    rows = -(-len(points) // columns)
    figure = new_figure(4.2 * columns, 4.2 * rows + 0.8)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    classes, predicted = queries.classes.numpy(), queries.predicted.numpy()
    panels = grid.flat[: len(points)]
    for stage, (axes, stage_points) in enumerate(zip(panels, points, strict=True)):
        axes.set_axis_on()
        axes.set(xticks=[], yticks=[], title=f"stage {stage}")
        _scatter(axes, stage_points, classes, predicted)
    _write_names(panels[-1], points[-1], classes, class_names)
    wrong = int(((classes >= 0) & (classes != predicted)).sum())
    figure.suptitle(
        f"t-SNE of the content vectors of {len(classes)} queries: colour is the true class, "
        f"x: another class is predicted ({wrong}), grey: IoU < 0.5 ({(classes < 0).sum()})",
        fontsize=10,
    )
    save_figure(figure, path)


def _scatter(axes: Axes, points: np.ndarray, classes: np.ndarray, predicted: np.ndarray) -> None:
    x, y = points.T
    background = classes < 0
    axes.scatter(x[background], y[background], s=6, color="0.75", linewidths=0)
    for label in _present(classes):
        right = (classes == label) & (predicted == label)
        wrong = (classes == label) & (predicted != label)
        color = [channel / 255 for channel in class_color(label)]
        axes.scatter(x[right], y[right], s=12, color=[color], linewidths=0)
        axes.scatter(x[wrong], y[wrong], s=22, color=[color], marker="x", linewidths=1.2)


def _present(classes: np.ndarray) -> list[int]:
    return [int(label) for label in np.unique(classes) if label >= 0]


def _write_names(
    axes: Axes, points: np.ndarray, classes: np.ndarray, class_names: Sequence[str]
) -> None:
    """Write the name of every class at the median of its points."""
    from matplotlib.patheffects import withStroke

    present = _present(classes)
    for label in present:
        x, y = np.median(points[classes == label], axis=0)
        axes.text(
            x,
            y,
            literal_text(class_names[label]),
            ha="center",
            va="center",
            fontsize=11 if len(present) <= 20 else 7,
            weight="bold",
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )
