"""A figure for each image: a panel for every stage, and the history of every gt box below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..box_drawing import class_color
from ..figures import literal_text, new_figure, save_figure
from .query_labels import (
    ADDED,
    DROPPED,
    MATCHED,
    ImageAssignment,
    QueryLabel,
    gt_history,
    query_labels,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE_HEIGHT = 0.22  # inches, of the history
MAX_ONE_ROW = 4  # up to so many stages are in one row, more in rows of three
LINES = {MATCHED: "solid", ADDED: (0, (4, 2)), DROPPED: (0, (1, 2))}
LEGEND = {
    MATCHED: "label of the match at this stage",
    ADDED: "label added from stage <- s",
    DROPPED: "label of the match dropped",
}


def draw_panels(item: ImageAssignment, class_names: Sequence[str], path: str | Path) -> None:
    """Draw every stage of an image, and the history of every box, into an image file.

    Ground truth is white. A query's box has the colour of its ground-truth box: solid for the
    label of its match at this stage, dashed for a label added from another stage, dotted if the
    label of its match is dropped. The history lists the query matched to every
    ground-truth box at each stage.
    """
    from matplotlib.lines import Line2D

    stages = len(item.matches)
    columns = stages if stages <= MAX_ONE_ROW else 3
    rows = math.ceil(stages / columns)
    height, width = item.image.shape[:2]
    heights = 4 * rows * height / width + 0.9, LINE_HEIGHT * (len(item.gt_classes) + 2)
    figure = new_figure(4 * columns, sum(heights))
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=heights).flat
    _write_history(below.subplots(), item, class_names)
    grid = above.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for stage in range(stages):
        axes = grid[stage // columns][stage % columns]
        axes.imshow(item.image)
        for box in item.gt_boxes.tolist():
            rectangle(axes, box, color="white", linewidth=2.5, alpha=0.6)
        labels = query_labels(item, stage)
        for label in labels:
            _draw(axes, label, item, class_names)
        kinds = [label.kind for label in labels]
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in (MATCHED, ADDED, DROPPED))
        axes.set_title(f"stage {stage}: {counts}", fontsize=10)
        axes.set(xlim=(0, width), ylim=(height, 0))
    handles = [
        Line2D([], [], color="tab:blue", linestyle=LINES[kind], label=text)
        for kind, text in LEGEND.items()
    ]
    above.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    above.suptitle(literal_text(item.name), fontsize=10)
    save_figure(figure, path)


def _write_history(axes: Axes, item: ImageAssignment, class_names: Sequence[str]) -> None:
    """Write a row for every ground-truth box, a column for every stage."""
    history = gt_history(item)
    axes.set_axis_off()
    axes.set(xlim=(-1, len(item.matches)), ylim=(len(history) + 0.5, -1.5))
    note = "query matched to the box (others with its label); red: another than at the stage before"
    axes.text(-1, -1, note, fontsize=9)
    for stage in range(len(item.matches)):
        axes.text(stage, 0, f"stage {stage}", fontsize=9, weight="bold")
    labels = item.gt_classes.tolist()
    for row, (label, entries) in enumerate(zip(labels, history, strict=True), start=1):
        name = literal_text(f"{row - 1} {class_names[label]}")
        style = {"facecolor": gt_color(row - 1), "alpha": 0.75, "pad": 0.6, "linewidth": 0}
        axes.text(-1, row, name, fontsize=9, bbox=style)
        before = entries[0]["match"]
        for stage, entry in enumerate(entries):
            match = entry["match"]
            text = "-" if match is None else f"q{match}"
            if others := [f"q{query}" for query in entry["assigned"] if query != match]:
                text += f" ({', '.join(others)})"
            axes.text(stage, row, text, fontsize=9, color="black" if match == before else "red")
            before = match


def gt_color(index: int) -> str:
    """Return the colour of a ground-truth box as #rrggbb."""
    return "#{:02x}{:02x}{:02x}".format(*class_color(index))


def _draw(axes: Axes, label: QueryLabel, item: ImageAssignment, class_names: Sequence[str]) -> None:
    color = gt_color(label.gt_index)
    rectangle(axes, label.box, color=color, linewidth=1.6, linestyle=LINES[label.kind])
    text = literal_text(f"q{label.query} {class_names[int(item.gt_classes[label.gt_index])]}")
    if label.kind == ADDED:
        text += " <- " + ",".join(str(stage) for stage in label.sources)
    x, y = max(label.box[0], 0.0), max(label.box[1], 0.0)
    axes.text(
        x,
        y,
        text,
        fontsize=6,
        color="black",
        verticalalignment="bottom" if y > 0.05 * len(item.image) else "top",
        clip_on=True,
        bbox={"facecolor": color, "alpha": 0.75, "pad": 0.6, "linewidth": 0},
    )


def rectangle(axes: Axes, box: Sequence[float], **style: Any) -> None:
    """Draw the outline of a box xyxy in the style of a matplotlib patch."""
    from matplotlib.patches import Rectangle

    x0, y0, x1, y1 = box
    axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, **style))
