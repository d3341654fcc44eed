"""Where a model's queries come from, if it finds them in the image: anchors, patches, final boxes.

A generator is observed while its model predicts; neither has to know. A picture of an image has two
panels: the anchors with the patches that were looked at on the way, and what became of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..figures import as_written, new_figure, save_figure
from .query_labels import ImageAssignment
from .stage_panels import rectangle

ANCHORS, BOXES, OBJECTS = "gold", "lime", "white"
PATCHES = ("cyan", "magenta")  # of the coarser map, of the finer one
DASHED = 0, (4, 2)
FAINTEST = 0.1  # the strength of what has a lower score
DIMMED = 0.6  # the brightness of the picture behind


class ImageAnchors(NamedTuple):
    """What was found in one image, and where it was looked for."""

    boxes: Tensor  # (N, 4) xyxy pixels
    scores: Tensor  # (N,) in [0, 1]
    crops: Mapping[int, Tensor]  # stride of a map, coarsest first -> (n, 4) xyxy pixels


@contextmanager
def recorded_anchors(model: Any) -> Iterator[list[ImageAnchors]]:
    """Keep the anchors of every image that a model predicts within the block, in order.

    Of a model with learned queries nothing is kept.
    """
    seen: list[ImageAnchors] = []
    generator = getattr(getattr(model, "queries", None), "generator", None)
    if generator is None:
        yield seen
        return

    def keep(module: Any, args: Any, found: Any) -> None:
        image_sizes = args[1]
        seen.extend(_of_image(found, module.strides, index) for index in range(len(image_sizes)))

    handle = generator.register_forward_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


def _of_image(found: Any, strides: Sequence[int], index: int) -> ImageAnchors:
    """Return one image's part of `GeneratedAnchors`; ``strides`` are those of P3, P4 and P5."""
    mine = found.anchors.where(found.anchors.images == index)
    crops = {}
    for stride, patches in zip(strides[1::-1], found.crops, strict=False):
        corners = torch.cat([patches.offsets, patches.offsets + patches.extents], dim=-1)
        crops[stride] = corners[patches.images == index].float().cpu()
    return ImageAnchors(mine.boxes.float().cpu(), mine.scores.float().cpu(), crops)


def draw_anchors(item: ImageAssignment, found: ImageAnchors, path: str | Path) -> None:
    """Draw anchors with patches, and beside them the boxes of the last stage, into a picture file.

    The objects are white; boxes are as strong as their scores.

    Args:
        item: of the image, with as many queries as there are anchors, or more by padding.
        found: its anchors.
        path: of the picture.
    """
    height, width = item.picture.shape[:2]
    figure = new_figure(9, 4.5 * height / width + 0.9)
    before, after = figure.subplots(1, 2)
    for axes in (before, after):
        axes.set_axis_off()
        axes.imshow((item.picture * DIMMED).astype(item.picture.dtype))
        for box in item.gt_boxes.tolist():
            rectangle(axes, box, color=OBJECTS, linewidth=2.5, alpha=0.6)
        axes.set(xlim=(0, width), ylim=(height, 0))
    _draw_search(before, found, width, height)
    boxes, scores = (x[-1, : len(found.boxes)] for x in (item.boxes, item.scores))
    _draw_by_score(after, boxes, scores.amax(dim=-1), color=BOXES)
    after.set_title(f"boxes of stage {len(item.boxes) - 1}", fontsize=10)
    _write_legend(figure, [_level(stride) for stride in found.crops])
    figure.suptitle(as_written(item.name), fontsize=10)
    save_figure(figure, path)


def _draw_search(axes: Any, found: ImageAnchors, width: int, height: int) -> None:
    """Draw the anchors, and of the patches what lies in the picture."""
    _draw_by_score(axes, found.boxes, found.scores, color=ANCHORS)
    most = torch.tensor([width, height, width, height])
    for color, crops in zip(PATCHES, found.crops.values(), strict=False):
        for box in crops.clamp(min=0).minimum(most).tolist():
            rectangle(axes, box, color=color, linewidth=1.4, linestyle=DASHED)
    told = [f"{len(crops)} patches of {_level(s)}" for s, crops in found.crops.items()]
    axes.set_title(", ".join([f"{len(found.boxes)} anchors", *told]), fontsize=10)


def _level(stride: int) -> str:
    """Return the name of a map in a pyramid, "P4" for 16."""
    return f"P{stride.bit_length() - 1}"


def _draw_by_score(axes: Any, boxes: Tensor, scores: Tensor, color: str) -> None:
    """Draw thin boxes, the weakest first."""
    for index in scores.argsort().tolist():
        strength = max(float(scores[index]), FAINTEST)
        rectangle(axes, boxes[index].tolist(), color=color, linewidth=1.0, alpha=strength)


def _write_legend(figure: Any, levels: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    lines: list[tuple[str, str, Any]] = [("anchor, by score", ANCHORS, "solid")]
    lines += [
        (f"patch of {level}", color, DASHED) for level, color in zip(levels, PATCHES, strict=False)
    ]
    lines += [("box of the last stage, by score", BOXES, "solid"), ("object", OBJECTS, "solid")]
    handles = [
        Line2D([], [], color=color, linestyle=style, label=name) for name, color, style in lines
    ]
    below = dict(loc="outside lower center", ncols=len(handles), fontsize=8)
    figure.legend(handles=handles, facecolor="gray", **below)
