"""t-SNE of the queries' content vectors, stage by stage, coloured by the class of their object.

In: a trained `StageInteractor` and annotated images. Out: a picture with a panel for every stage,
which shows the same queries. Paper: figure 2 of the appendix.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..assigner.boxes import box_iou
from ..errors import DataError, MissingDependencyError, UnsupportedHostError
from .box_drawing import class_color
from .figures import as_written, new_figure, save_figure

COLUMNS = 4
FEWEST = 10  # points that can be laid out


@dataclass(frozen=True)
class QueryContent:
    """Content vectors of M queries that found something."""

    content: Tensor  # (S, M, D)
    classes: Tensor  # (M,) class of the object that the query's last box fits, -1: of none
    detected: Tensor  # (M,) class with the highest score at the last stage


@torch.no_grad()
def collect_content(
    model: Any, batched_inputs: Iterable[dict[str, Any]], min_score: float = 0.3
) -> QueryContent:
    """Run a model and keep the content vectors of its confident queries.

    Args:
        model: a `StageInteractor`.
        batched_inputs: images as in training, with "image" (3, H, W) and "instances".
        min_score: queries whose highest score at the last stage is lower are left out.

    Raises:
        UnsupportedHostError: another project's model.
    """
    if not hasattr(model, "decode"):
        raise UnsupportedHostError(
            f"{type(model).__name__} has no method 'decode' that gives content vectors; this "
            "picture is made of StageInteractor and AdaMixer only"
        )
    model.eval()
    parts = []
    for item in batched_inputs:
        image = model.normalize(item["image"])
        output, _ = model.decode(model.pad([image]), [image])
        scores, detected = output.logits[-1, 0].float().sigmoid().max(dim=-1)  # (N,)
        kept = scores >= min_score
        classes = _class_of_object(output.boxes[-1, 0, kept], model.target(item["instances"]))
        parts.append((output.content[:, 0, kept].float(), classes, detected[kept]))
    return QueryContent(
        content=torch.cat([content for content, _, _ in parts], dim=1).cpu(),
        classes=torch.cat([classes for _, classes, _ in parts]).cpu(),
        detected=torch.cat([detected for _, _, detected in parts]).cpu(),
    )


def _class_of_object(boxes: Tensor, target: dict[str, Tensor]) -> Tensor:
    """Return the class (M,) of the object that each box (M, 4) overlaps most, -1 if IoU < 0.5."""
    if len(target["labels"]) == 0:
        return torch.full((len(boxes),), -1, device=boxes.device)
    overlap, index = box_iou(boxes[:, None], target["boxes"][None]).max(dim=-1)
    return torch.where(overlap >= 0.5, target["labels"][index], -1)


def embed(content: Tensor) -> np.ndarray:
    """Lay vectors (M, D) out in the plane (M, 2) by t-SNE; the same vectors give the same plane.

    Raises:
        DataError: too few vectors.
        MissingDependencyError: scikit-learn is not installed.
    """
    if len(content) < FEWEST:
        raise DataError(
            f"{len(content)} queries are too few for t-SNE, it takes {FEWEST}: give more images or "
            "a lower --min-score"
        )
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise MissingDependencyError(
            "t-SNE needs scikit-learn: pip install 'stageinteractor[demo]'"
        ) from error
    perplexity = min(30.0, (len(content) - 1) / 3)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="sklearn")
        return TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(
            content.numpy()
        )


def plot_embedding(
    points: Sequence[np.ndarray], found: QueryContent, class_names: Sequence[str], path: str | Path
) -> None:
    """Draw the queries of every stage into a picture file.

    A point has the colour of the class of its object, and is a cross where the query names another
    class; queries that fit no object are small and grey. At the last stage the names of the classes
    stand in the middle of their points.

    Args:
        points: S arrays (M, 2) of `embed`.
        found: the queries.
        class_names: C names.
        path: of the picture.
    """
    columns = min(COLUMNS, len(points))
    rows = -(-len(points) // columns)
    figure = new_figure(4.2 * columns, 4.2 * rows + 0.8)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    classes, detected = found.classes.numpy(), found.detected.numpy()
    panels = grid.flat[: len(points)]
    for stage, (axes, places) in enumerate(zip(panels, points, strict=True)):
        axes.set_axis_on()
        axes.set(xticks=[], yticks=[], title=f"stage {stage}")
        _scatter(axes, places, classes, detected)
    _write_names(panels[-1], points[-1], classes, class_names)
    wrong = int(((classes >= 0) & (classes != detected)).sum())
    figure.suptitle(
        f"t-SNE of the content vectors of {len(classes)} queries: colour is the class of the "
        f"object, x: taken for another class ({wrong}), grey: on no object ({(classes < 0).sum()})",
        fontsize=10,
    )
    save_figure(figure, path)


def _scatter(axes: Any, places: np.ndarray, classes: np.ndarray, detected: np.ndarray) -> None:
    none = classes < 0
    axes.scatter(*places[none].T, s=6, color="0.75", linewidths=0)
    for label in _present(classes):
        right = (classes == label) & (detected == label)
        wrong = (classes == label) & (detected != label)
        color = [channel / 255 for channel in class_color(label)]
        axes.scatter(*places[right].T, s=12, color=[color], linewidths=0)
        axes.scatter(*places[wrong].T, s=22, color=[color], marker="x", linewidths=1.2)


def _present(classes: np.ndarray) -> list[int]:
    return [int(label) for label in np.unique(classes) if label >= 0]


def _write_names(
    axes: Any, places: np.ndarray, classes: np.ndarray, class_names: Sequence[str]
) -> None:
    """Write the name of every class into the middle of its points."""
    from matplotlib.patheffects import withStroke

    present = _present(classes)
    for label in present:
        middle = np.median(places[classes == label], axis=0)
        axes.text(
            *middle,
            as_written(class_names[label]),
            ha="center",
            va="center",
            fontsize=11 if len(present) <= 20 else 7,
            weight="bold",
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )
