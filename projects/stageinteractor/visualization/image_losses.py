"""The loss of every image by itself, and a page of the worst: label errors come to light there."""

from __future__ import annotations

import html
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from ..errors import ConfigError
from ..files import atomic_write_text
from .box_drawing import draw_boxes, image_grid
from .mapped_records import labelled_boxes, record_image
from .static_page import jpeg_url, static_page

WIDTH = 360  # pixels of a drawn image
MIN_SCORE = 0.3  # of the detections that are drawn
STAGE = re.compile(r"(_dn)?_\d+$")
STYLE = (
    "body{font:14px system-ui,sans-serif;margin:1rem}td,th{padding:.2rem .6rem;text-align:right;"
    "vertical-align:top}td.name{text-align:left}img{display:block}"
)


@dataclass(frozen=True)
class ImageLoss:
    """The losses of an image, summed over the stages and divided by its own numbers of labels."""

    file_name: str
    image_id: int | str
    num_gt: int
    total: float
    terms: dict[str, float]  # such as {"class": ..., "bbox": ..., "giou": ...}


@torch.no_grad()
def image_losses(
    model: nn.Module, batches: Iterable[Sequence[dict[str, Any]]]
) -> Iterator[tuple[ImageLoss, dict[str, Any]]]:
    """Yield the losses of every image, and its record; the model does not change.

    Args:
        model: of ours, with ``losses``, ``normalize`` and ``target``.
        batches: mapped records with "instances".

    Raises:
        ConfigError: the model has no losses to compute for one image.
    """
    if not all(hasattr(model, name) for name in ("losses", "normalize", "target")):
        raise ConfigError(f"a {type(model).__name__} has no losses of single images")
    losses_of: Any = model.losses
    normalize: Any = model.normalize
    target: Any = model.target
    for item in chain.from_iterable(batches):
        losses = losses_of([normalize(item["image"])], [target(item["instances"])])
        terms: defaultdict[str, float] = defaultdict(float)
        for name, value in losses.items():
            terms[STAGE.sub("", name).removeprefix("loss_")] += float(value)
        loss = ImageLoss(
            file_name=item["file_name"],
            image_id=item["image_id"],
            num_gt=len(item["instances"]),
            total=sum(terms.values()),
            terms=dict(terms),
        )
        yield loss, item


def write_losses_page(
    rows: Sequence[tuple[ImageLoss, dict[str, Any], Any]],
    class_names: Sequence[str],
    path: str | Path,
    image_format: str = "RGB",
) -> None:
    """Write a page with the images embedded: losses, ground truth, detections.

    Args:
        rows: loss, mapped record and detections (`Instances` in the size of the mapped image).
        image_format: of the mapper.
    """
    names = list(dict.fromkeys(name for loss, *_ in rows for name in loss.terms))
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("loss", *names))
    body = "".join(
        _row(loss, names, _pair(image_format, record, detections, class_names))
        for loss, record, detections in rows
    )
    text = (
        f"<p>Left ground truth, right detections from a score of {MIN_SCORE}.</p>"
        f"<table><tr><th>image</th>{head}<th></th></tr>{body}</table>"
    )
    atomic_write_text(path, static_page("Images with the largest losses", STYLE, text))


def _row(loss: ImageLoss, names: Sequence[str], image: Image.Image) -> str:
    numbers = [loss.total, *(loss.terms.get(name, 0.0) for name in names)]
    cells = "".join(f"<td>{number:.2f}</td>" for number in numbers)
    name = html.escape(Path(loss.file_name).name)
    details = f"id {html.escape(str(loss.image_id))}, {loss.num_gt} ground-truth boxes"
    shown = f'<img alt="ground truth and detections" src="{jpeg_url(image)}">'
    return f'<tr><td class="name">{name}<br>{details}</td>{cells}<td>{shown}</td></tr>\n'


def _pair(
    image_format: str, record: dict[str, Any], detections: Any, class_names: Sequence[str]
) -> Image.Image:
    """Return ground truth beside detections; the best are drawn last, on top."""
    image, truth = record_image(record, image_format), record["instances"]
    kept = detections[detections.scores >= MIN_SCORE]
    predicted = kept.pred_boxes.tensor, kept.pred_classes, class_names, kept.scores
    sides = [
        labelled_boxes(truth.gt_boxes.tensor, truth.gt_classes, class_names),
        labelled_boxes(*predicted)[::-1],
    ]
    return image_grid([draw_boxes(image, boxes, WIDTH / image.width) for boxes in sides], 2)
