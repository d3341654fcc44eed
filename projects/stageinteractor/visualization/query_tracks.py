"""What single queries look at: sampling points and attention of every stage, as a static page."""

from __future__ import annotations

import html
import inspect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..files import atomic_write_text
from ..modeling.attention import IoFBiasedSelfAttention
from ..modeling.box_coding import xyzr_to_xyxy
from ..modeling.sampling.points import GroupedSampler, level_weights
from .static_page import jpeg_url, static_page

LEVEL_COLORS = ("#e6194b", "#ffe119", "#3cb44b", "#4363d8", "#f58231", "#911eb4")
ATTENDED = 3  # other queries that are drawn
STYLE = (
    "body{font:13px system-ui,sans-serif;margin:1rem}figure{display:inline-block;margin:.2rem}"
    "svg{width:240px;height:auto;display:block;background-size:100% 100%}rect{fill:none}"
    "figcaption{color:#555}"
)


@dataclass
class StageRecord:
    """Inputs of a stage, of one image."""

    boxes: Tensor = field(default_factory=lambda: torch.zeros(0, 4))  # (N, 4) xyxy pixels
    points: Tensor = field(default_factory=lambda: torch.zeros(0, 0, 2))  # (N, P, 2) pixels
    weights: Tensor = field(default_factory=lambda: torch.zeros(0, 0, 0))  # (N, P, L)
    attention: Tensor | None = None  # (N, N), the mean over heads


@contextmanager
def record_stages(model: nn.Module) -> Iterator[list[StageRecord]]:
    """Record what the stages of a decoder sample and attend to, in a forward pass of one image.

    The list stays empty for models without `GroupedSampler`.
    """
    records: list[StageRecord] = []
    pending: list[Tensor] = []  # attention of the stage whose sampler comes next

    def attend(module: nn.Module, args: Any, kwargs: Any) -> None:
        bound = _bound(module, args, kwargs)
        pending.append(module.weights(**bound)[0].cpu())  # type: ignore[operator]

    def sample(module: nn.Module, args: Any, kwargs: Any) -> None:
        bound = _bound(module, args, kwargs)
        boxes = bound["boxes_xyzr"]
        points = module.points(bound["content"], boxes)  # type: ignore[operator]
        levels = level_weights(points[..., 2], len(module.strides))  # type: ignore[arg-type]
        records.append(
            StageRecord(
                xyzr_to_xyxy(boxes)[0].cpu(),
                points[0, ..., :2].flatten(1, 2).cpu(),
                levels[0].flatten(1, 2).cpu(),
                pending.pop() if pending else None,
            )
        )

    with ExitStack() as stack:
        for module in model.modules():
            for kind, hook in ((GroupedSampler, sample), (IoFBiasedSelfAttention, attend)):
                if isinstance(module, kind):
                    handle = module.register_forward_pre_hook(hook, with_kwargs=True)
                    stack.callback(handle.remove)
        yield records


def _bound(module: nn.Module, args: Any, kwargs: Any) -> dict[str, Any]:
    return inspect.signature(module.forward).bind(*args, **kwargs).arguments


def best_queries(
    scores: Tensor, class_names: Sequence[str], count: int = 8
) -> list[tuple[int, str]]:
    """Return the queries with the highest scores (N, C), each with its class and score."""
    values, classes = scores.max(dim=-1)
    best = values.topk(min(count, len(values))).indices.tolist()
    return [(query, f"{class_names[int(classes[query])]} {values[query]:.2f}") for query in best]


def write_tracks_page(
    image: np.ndarray,
    stages: Sequence[StageRecord],
    queries: Sequence[tuple[int, str]],
    path: str | Path,
) -> None:
    """Write the page of an image.

    Args:
        image: (H, W, 3) RGB.
        stages: of `record_stages`.
        queries: index of each query that is shown, and its title, such as class and score.
    """
    height, width = image.shape[:2]
    levels = stages[0].weights.shape[-1] if stages else 0
    colors = ", ".join(
        f'<span style="color:{_color(level)}">&#9679;</span> level {level}'
        for level in range(levels)
    )
    rows = "".join(
        f"<h2>query {query}: {html.escape(title)}</h2>"
        + "".join(_figure(s, query, index, (width, height)) for index, s in enumerate(stages))
        for query, title in queries
    )
    legend = (
        f"<p>White: the box that enters the stage. Points: where it samples, coloured by the level "
        f"of the largest weight, larger with that weight: {colors}. Dashed: the {ATTENDED} other "
        f"queries it attends to most.</p>"
    )
    style = f"{STYLE}svg{{background-image:url({jpeg_url(Image.fromarray(image))})}}"
    atomic_write_text(path, static_page("What queries look at", style, legend + rows))


def _color(level: int) -> str:
    return LEVEL_COLORS[level % len(LEVEL_COLORS)]


def _figure(stage: StageRecord, query: int, index: int, size: tuple[int, int]) -> str:
    width, height = size
    unit = max(width, height) / 240  # a pixel of the page
    parts = []
    caption = f"stage {index}"
    if stage.attention is not None:
        row = stage.attention[query].clone()
        own, row[query] = float(row[query]), -1.0
        values, others = row.topk(min(ATTENDED, max(len(row) - 1, 0)))
        for value, other in zip(values.tolist(), others.tolist(), strict=True):
            parts.append(_box(stage.boxes[other], "#0ff", unit, f' stroke-dasharray="{4 * unit}"'))
            caption += f", {other}: {value:.2f}"
        caption += f", itself: {own:.2f}"
    parts.append(_box(stage.boxes[query], "#fff", 2 * unit))
    largest, levels = stage.weights[query].max(dim=-1)
    for (x, y), weight, level in zip(
        stage.points[query].tolist(), largest.tolist(), levels.tolist(), strict=True
    ):
        radius = unit * (1 + 2 * weight)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.2f}" fill="{_color(level)}"/>')
    return (
        f'<figure><svg viewBox="0 0 {width} {height}">{"".join(parts)}</svg>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _box(box: Tensor, color: str, width: float, more: str = "") -> str:
    x0, y0, x1, y1 = box.tolist()
    return (
        f'<rect x="{x0:.1f}" y="{y0:.1f}" width="{max(x1 - x0, 0):.1f}" '
        f'height="{max(y1 - y0, 0):.1f}" stroke="{color}" stroke-width="{width:.2f}"{more}/>'
    )
