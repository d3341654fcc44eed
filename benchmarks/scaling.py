"""How the cost of decoder and criterion grows with stages, images, queries and objects.

The config's decoder, narrowed so that this takes seconds, and its criterion, forward and backward,
on small feature maps. One quantity grows at a time; a straight line is fitted to the shortest
times, which other work on the machine disturbs least. Two costs are not linear: attention is
quadratic in the queries, a small part; and from the third stage on every stage reuses one filter
more, which the FLOPs show too. The Hungarian solver's work depends on the predictions, so the
criterion is measured over objects with two kinds of boxes: equally many near every object, or
random ("contested": some objects have none nearby and compete for those of others, the worst case
of the solver).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor
from tqdm import tqdm

from stageinteractor.config import instantiate
from stageinteractor.modeling import LearnedQueries
from stageinteractor.synthetic import move_parameters, random_boxes
from stageinteractor.visualization.figures import new_figure, save_figure

from .recording import forget_gradients
from .roofline import count_flops
from .timing import interleaved

BASE = {"stages": 6, "images": 1, "queries": 100, "objects": 20}
AXES: dict[str, tuple[int, ...]] = {
    "stages": (1, 2, 3, 4, 5, 6),
    "images": (1, 2, 3, 4),
    "queries": (100, 300, 500, 700, 900),
    "objects": (20, 90, 160, 230, 300),
}
FIXED = {"objects": {"queries": 300}}  # as many as there are objects at most
NARROW = {
    "embed_dim": 64,
    "feedforward_dim": 256,
    "out_points": 32,
    "first_point_groups": 4,
    "point_groups": 2,
    "points_per_group": 4,
}
SIZE = 256, 320  # of the images, pixels
CLASSES = 80
CONTESTED = "criterion (contested)"
MEASURED = {
    "decoder": ("stages", "images", "queries"),  # it does not see the objects
    "criterion": ("stages", "images", "queries", "objects"),
    CONTESTED: ("objects",),
}
Curve = dict[str, Any]


def measure_scaling(cfg: DictConfig, device: torch.device, repeats: int = 3) -> list[Curve]:
    """Return a curve for every pair of "decoder" or "criterion" and quantity.

    Args:
        cfg: a config with our decoder and criterion.
        device: where to run.
        repeats: of every point of the decoder's, after one that warms up; four times as many of
            the criterion's, which take milliseconds.
    """
    contested = functools.partial(criterion_run, contested=True)
    makers: dict[str, Callable[..., Callable[[], None]]] = {
        "decoder": decoder_run,
        "criterion": criterion_run,
        CONTESTED: contested,
    }
    curves = []
    measured = [(part, axis) for part, axes in MEASURED.items() for axis in axes]
    for part, axis in tqdm(measured, desc="scaling", unit="curve", leave=False):
        base = BASE | FIXED.get(axis, {})
        runs = [makers[part](cfg, device, **(base | {axis: value})) for value in AXES[axis]]
        flops = [count_flops(run) for run in runs]  # warms up, too
        count = repeats if part == "decoder" else 4 * repeats
        timings = interleaved(runs, device, repeats=count, warm_up=False)
        milliseconds = [1e3 * min(timing.seconds) for timing in timings]
        curve = {"part": part, "axis": axis, **fit(AXES[axis], milliseconds)}
        curves.append(curve | {"gflop": [each / 1e9 for each in flops]})
    return curves


def decoder_run(
    cfg: DictConfig,
    device: torch.device,
    *,
    stages: int,
    images: int,
    queries: int,
    objects: int,
) -> Callable[[], None]:
    """Return a forward and backward pass of a narrow decoder."""
    node = cfg.model.decoder.copy()
    node._set_parent(cfg.model)
    parts = [node]
    if "stages" in node:  # parallel stages, all of them like the first
        node.stages = [node.stages[0], *["${.0}"] * (stages - 1)]
        parts.append(node.stages[0])
    else:
        node.num_stages = stages
    for part in parts:
        part.update({key: value for key, value in NARROW.items() if key in part})
    decoder = instantiate(node, "model.decoder")
    move_parameters(decoder)
    decoder = decoder.to(device).train()
    width = node.embed_dim
    generator = torch.Generator().manual_seed(0)
    maps = [
        torch.randn(images, width, SIZE[0] // s, SIZE[1] // s, generator=generator)
        .to(device)
        .requires_grad_()
        for s in node.get("strides", (4, 8, 16, 32))
    ]
    sizes = torch.tensor([SIZE] * images, dtype=torch.float32, device=device)
    start = LearnedQueries(num_queries=queries, embed_dim=width).to(device)

    def run() -> None:
        output = decoder(maps, start(sizes))
        results = [output.logits, output.boxes]
        inputs = [*maps, *start.parameters(), *decoder.parameters()]
        above = [torch.ones_like(result) for result in results]
        torch.autograd.backward(results, above)
        forget_gradients(inputs)

    return run


def criterion_run(
    cfg: DictConfig,
    device: torch.device,
    *,
    stages: int,
    images: int,
    queries: int,
    objects: int,
    contested: bool = False,
) -> Callable[[], None]:
    """Return matching, assignment and losses with their backward pass.

    The predicted boxes lie near the objects: near every one as many, or by chance if contested.
    """
    generator = torch.Generator().manual_seed(0)
    targets, predicted = [], []
    for _ in range(images):
        boxes = random_boxes(objects, SIZE, generator)
        labels = torch.randint(CLASSES, (objects,), generator=generator)
        targets.append({"boxes": boxes.to(device), "labels": labels.to(device)})
        near = boxes[torch.randperm(queries, generator=generator) % objects].expand(stages, -1, -1)
        if contested:
            near = boxes[torch.randint(objects, (stages, queries), generator=generator)]
        predicted.append(near + 4.0 * torch.randn(near.shape, generator=generator))
    logits = torch.randn(stages, images, queries, CLASSES, generator=generator) - 3.0
    leaves = [x.to(device).requires_grad_() for x in (logits, torch.stack(predicted, dim=1))]
    sizes = torch.tensor([SIZE] * images, dtype=torch.float32, device=device)
    criterion = instantiate(cfg.model.criterion, "model.criterion")

    def run() -> None:
        losses: dict[str, Tensor] = criterion(*leaves, targets, sizes)
        torch.stack(list(losses.values())).sum().backward()
        forget_gradients(leaves)

    return run


def fit(values: tuple[int, ...], milliseconds: list[float]) -> Curve:
    """Fit a straight line to times.

    Returns "values", "ms", "slope" and "intercept" of the line, "r2", and "deviation", the
    largest distance from the line as a share of it.
    """
    x, y = np.asarray(values, dtype=float), np.asarray(milliseconds)
    slope, intercept = np.polyfit(x, y, 1)
    line = slope * x + intercept
    around = ((y - y.mean()) ** 2).sum()
    return {
        "values": list(values),
        "ms": list(milliseconds),
        "slope": float(slope),
        "intercept": float(intercept),
        "r2": float(1.0 - ((y - line) ** 2).sum() / around) if around else 1.0,
        "deviation": float((abs(y - line) / abs(line)).max()),
    }


def plot_scaling(curves: list[Curve], path: str | Path) -> None:
    """Draw the curves: decoder above, criterion below, a column for each quantity."""
    axes = list(AXES)
    rows = {"decoder": 0, "criterion": 1, CONTESTED: 0}  # in the cell that the decoder leaves free
    figure = new_figure(3.4 * len(axes), 6.0)
    grid = figure.subplots(2, len(axes))
    for cell in grid.flat:
        cell.set_visible(False)
    for curve in curves:
        cell = grid[rows[curve["part"]]][axes.index(curve["axis"])]
        cell.set_visible(True)
        x = np.asarray(curve["values"], dtype=float)
        line = curve["slope"] * x + curve["intercept"]
        cell.plot(x, line, color="tab:gray", linewidth=1, label=f"line, R² {curve['r2']:.3f}")
        cell.plot(x, curve["ms"], "o", label=f"off by {curve['deviation']:.0%} at most")
        products = np.asarray(curve["gflop"])
        if products[-1] > 0:
            scaled = products * (curve["ms"][-1] / products[-1])
            cell.plot(x, scaled, ":", color="tab:gray", label="products, in proportion")
        cell.set(title=f"{curve['part']} over {curve['axis']}", xlabel=curve["axis"])
        cell.set(ylabel="ms, forward and backward", ylim=(0, None))
        cell.legend(fontsize="small")
        cell.grid(alpha=0.3)
    save_figure(figure, path)
