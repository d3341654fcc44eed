"""A figure for each image: the scores of the last stage before and after duplicate removal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ...assigner.boxes import box_iou
from ...errors import DataError
from ...modeling.decoders.query_order import more_confident
from ..figures import literal_text, new_figure, save_figure
from .query_labels import ImageAssignment
from .stage_panels import gt_color, rectangle

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MIN_SCORE = 0.1  # of a query that is drawn
MIN_IOU = 0.5  # of boxes that overlap
DASHED = (0, (4, 2))


def more_confident_overlaps(scores: Tensor, boxes: Tensor) -> list[int | None]:
    """Return for each query the more confident one that its box overlaps most, or None.

    Args:
        scores: (N, C) of the last stage, before duplicate removal.
        boxes: (N, 4), xyxy pixels; an overlap is an IoU of at least 0.5.
    """
    if not len(boxes):
        return []
    iou = box_iou(boxes[:, None], boxes[None])  # (N, N)
    iou = iou.masked_fill(~more_confident(scores[None])[0], 0.0)
    best, index = iou.max(dim=1)
    pairs = zip(best.tolist(), index.tolist(), strict=True)
    return [query if value >= MIN_IOU else None for value, query in pairs]


def draw_duplicates(item: ImageAssignment, class_names: Sequence[str], path: str | Path) -> None:
    """Draw the boxes of the last stage before and after duplicate removal, into an image file.

    Queries with a score of at least 0.1 are drawn; the opacity of a box is its score. A query that
    overlaps a more confident one is dashed, and its text names that query.

    Raises:
        DataError: the model has no duplicate removal.
    """
    if item.rescored is None:
        raise DataError(f"{item.name}: the model has no duplicate removal")
    height, width = item.image.shape[:2]
    figure = new_figure(9, 4.5 * height / width + 0.9)
    panels = figure.subplots(1, 2)
    overlaps = more_confident_overlaps(item.scores[-1], item.boxes[-1])
    titles = "last stage", "after duplicate removal"
    for axes, scores, title in zip(panels, (item.scores[-1], item.rescored), titles, strict=True):
        axes.set_axis_off()
        axes.imshow(item.image)
        _draw(axes, scores, item.boxes[-1], overlaps, class_names)
        axes.set(xlim=(0, width), ylim=(height, 0))
        count = int((scores.amax(dim=-1) >= MIN_SCORE).sum())
        axes.set_title(f"{title}: {count} queries >= {MIN_SCORE}", fontsize=10)
    figure.suptitle(literal_text(f"{item.name}; dashed: < qN, more confident"), fontsize=10)
    save_figure(figure, path)


def _draw(
    axes: Axes,
    scores: Tensor,
    boxes: Tensor,
    overlaps: Sequence[int | None],
    class_names: Sequence[str],
) -> None:
    """Draw the boxes of confident queries, the lowest score first."""
    from matplotlib.patheffects import withStroke

    best, labels = scores.max(dim=-1)
    for query in best.argsort().tolist():
        score, box, other = float(best[query]), boxes[query].tolist(), overlaps[query]
        if score < MIN_SCORE:
            continue
        style = "solid" if other is None else DASHED
        color = gt_color(query)
        rectangle(axes, box, color=color, linewidth=1.6, linestyle=style, alpha=score)
        text = f"q{query} {class_names[int(labels[query])]} {score:.2f}"
        text += "" if other is None else f" < q{other}"
        name = axes.text(box[0], box[1], literal_text(text), fontsize=6, clip_on=True, alpha=0.9)
        name.set_path_effects([withStroke(linewidth=1.5, foreground="white")])
