"""Figures of anchor queries (ASAG): anchors and crops beside the boxes of the last stage.

A forward hook records what the anchor generator returns while its model predicts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ..figures import literal_text, new_figure, save_figure
from .query_labels import ImageAssignment
from .stage_panels import rectangle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ...modeling.anchors.generator import AnchorGenerator
    from ...modeling.anchors.predictions import GeneratedAnchors

ANCHORS, BOXES, GROUND_TRUTH = "gold", "lime", "white"
CROPS = ("cyan", "magenta")  # of the coarser map, of the finer one
DASHED = 0, (4, 2)
MIN_ALPHA = 0.1  # of boxes with a lower score
BRIGHTNESS = 0.6  # of the image behind the boxes


class ImageAnchors(NamedTuple):
    """The anchors of one image, and the crops that its finer levels were searched in."""

    boxes: Tensor  # (N, 4) xyxy pixels
    scores: Tensor  # (N,) in [0, 1]
    crops: Mapping[int, Tensor]  # stride of a map, coarsest first -> (n, 4) xyxy pixels


@contextmanager
def record_anchors(model: Any) -> Iterator[list[ImageAnchors]]:
    """Record the anchors of every image that a model predicts within the block, in order.

    The list stays empty for a model without an anchor generator.
    """
    recorded: list[ImageAnchors] = []
    generator = getattr(getattr(model, "queries", None), "generator", None)
    if generator is None:
        yield recorded
        return

    def record(module: AnchorGenerator, args: tuple[Any, ...], generated: GeneratedAnchors) -> None:
        image_sizes = args[1]
        recorded.extend(_of_image(generated, module.strides, i) for i in range(len(image_sizes)))

    handle = generator.register_forward_hook(record)
    try:
        yield recorded
    finally:
        handle.remove()


def _of_image(generated: GeneratedAnchors, strides: Sequence[int], index: int) -> ImageAnchors:
    """Return one image's part of `GeneratedAnchors`; ``strides`` are those of P3, P4 and P5."""
    anchors = generated.anchors.where(generated.anchors.images == index)
    crops = {}
    for stride, patches in zip(strides[1::-1], generated.crops, strict=False):
        corners = torch.cat([patches.offsets, patches.offsets + patches.extents], dim=-1)
        crops[stride] = corners[patches.images == index].float().cpu()
    return ImageAnchors(anchors.boxes.float().cpu(), anchors.scores.float().cpu(), crops)


def draw_anchors(item: ImageAssignment, anchors: ImageAnchors, path: str | Path) -> None:
    """Draw anchors with crops, and beside them the boxes of the last stage, into an image file.

    Ground truth is white; the opacity of a box is its score.

    Args:
        item: of the image, with one query for each anchor, or more by padding.
    """
    height, width = item.image.shape[:2]
    figure = new_figure(9, 4.5 * height / width + 0.9)
    before, after = figure.subplots(1, 2)
    for axes in (before, after):
        axes.set_axis_off()
        axes.imshow((item.image * BRIGHTNESS).astype(item.image.dtype))
        for box in item.gt_boxes.tolist():
            rectangle(axes, box, color=GROUND_TRUTH, linewidth=2.5, alpha=0.6)
        axes.set(xlim=(0, width), ylim=(height, 0))
    _draw_search(before, anchors, width, height)
    boxes, scores = (x[-1, : len(anchors.boxes)] for x in (item.boxes, item.scores))
    _draw_by_score(after, boxes, scores.amax(dim=-1), color=BOXES)
    after.set_title(f"boxes of stage {len(item.boxes) - 1}", fontsize=10)
    _write_legend(figure, [_level(stride) for stride in anchors.crops])
    figure.suptitle(literal_text(item.name), fontsize=10)
    save_figure(figure, path)


def _draw_search(axes: Axes, anchors: ImageAnchors, width: int, height: int) -> None:
    """Draw the anchors, and the crops clipped to the image."""
    _draw_by_score(axes, anchors.boxes, anchors.scores, color=ANCHORS)
    limits = torch.tensor([width, height, width, height])
    for color, crops in zip(CROPS, anchors.crops.values(), strict=False):
        for box in crops.clamp(min=0).minimum(limits).tolist():
            rectangle(axes, box, color=color, linewidth=1.4, linestyle=DASHED)
    counts = [f"{len(crops)} crops of {_level(s)}" for s, crops in anchors.crops.items()]
    axes.set_title(", ".join([f"{len(anchors.boxes)} anchors", *counts]), fontsize=10)


def _level(stride: int) -> str:
    """Return the name of a pyramid level by its stride, "P4" for 16."""
    return f"P{stride.bit_length() - 1}"


def _draw_by_score(axes: Axes, boxes: Tensor, scores: Tensor, color: str) -> None:
    """Draw thin boxes, the lowest score first."""
    for index in scores.argsort().tolist():
        alpha = max(float(scores[index]), MIN_ALPHA)
        rectangle(axes, boxes[index].tolist(), color=color, linewidth=1.0, alpha=alpha)


def _write_legend(figure: Figure, levels: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    lines: list[tuple[str, str, Any]] = [("anchor, by score", ANCHORS, "solid")]
    lines += [
        (f"crop of {level}", color, DASHED) for level, color in zip(levels, CROPS, strict=False)
    ]
    lines += [
        ("box of the last stage, by score", BOXES, "solid"),
        ("ground truth", GROUND_TRUTH, "solid"),
    ]
    handles = [
        Line2D([], [], color=color, linestyle=style, label=name) for name, color, style in lines
    ]
    below = dict(loc="outside lower center", ncols=len(handles), fontsize=8)
    figure.legend(handles=handles, facecolor="gray", **below)
