"""The loss of every image by itself, and a page of the worst: label errors come to light there."""

from __future__ import annotations

import base64
import html
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from ..errors import ConfigError
from ..files import atomic_write_text
from .box_drawing import DrawnBox, draw_boxes

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
) -> Iterator[ImageLoss]:
    """Yield the losses of every image, in evaluation mode; the model does not change.

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
    for batch in batches:
        for item in batch:
            losses = losses_of([normalize(item["image"])], [target(item["instances"])])
            terms: defaultdict[str, float] = defaultdict(float)
            for name, value in losses.items():
                terms[STAGE.sub("", name).removeprefix("loss_")] += float(value)
            yield ImageLoss(
                *(item["file_name"], item["image_id"], len(item["instances"])),
                *(sum(terms.values()), dict(terms)),
            )


def write_losses_page(
    rows: Sequence[tuple[ImageLoss, dict[str, Any], Any]],
    class_names: Sequence[str],
    path: str | Path,
) -> None:
    """Write a page with the images embedded: losses, ground truth, detections.

    Args:
        rows: loss, mapped record and detections (`Instances` in the size of the mapped image).
    """
    names = list(dict.fromkeys(name for loss, *_ in rows for name in loss.terms))
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("loss", *names))
    body = "".join(_row(*row, names, class_names) for row in rows)
    title = "Images with the largest losses"
    text = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body><h1>{title}</h1>"
        f"<p>Left ground truth, right detections from a score of {MIN_SCORE}.</p>"
        f"<table><tr><th>image</th>{head}<th></th></tr>{body}</table></body></html>\n"
    )
    atomic_write_text(path, text)


def _row(
    loss: ImageLoss,
    record: dict[str, Any],
    detections: Any,
    names: Sequence[str],
    class_names: Sequence[str],
) -> str:
    numbers = [loss.total, *(loss.terms.get(name, 0.0) for name in names)]
    cells = "".join(f"<td>{number:.2f}</td>" for number in numbers)
    name = html.escape(Path(loss.file_name).name)
    details = f"id {html.escape(str(loss.image_id))}, {loss.num_gt} ground-truth boxes"
    image = _pair(record, detections, class_names)
    return f'<tr><td class="name">{name}<br>{details}</td>{cells}<td>{image}</td></tr>\n'


def _pair(record: dict[str, Any], detections: Any, class_names: Sequence[str]) -> str:
    """Return an image element of ground truth beside detections."""
    pixels = np.ascontiguousarray(np.moveaxis(record["image"].numpy(), 0, -1).astype(np.uint8))
    truth = record["instances"]
    kept = detections[detections.scores >= MIN_SCORE]
    drawn = [
        (truth.gt_boxes.tensor, truth.gt_classes, None),
        (kept.pred_boxes.tensor, kept.pred_classes, kept.scores),
    ]
    sides = [_drawn(pixels, *each, class_names) for each in drawn]
    sheet = Image.new("RGB", (2 * sides[0].width + 8, sides[0].height), "white")
    sheet.paste(sides[0], (0, 0))
    sheet.paste(sides[1], (sides[0].width + 8, 0))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img alt="ground truth and detections" src="data:image/jpeg;base64,{data}">'


def _drawn(
    pixels: np.ndarray, boxes: Any, labels: Any, scores: Any, class_names: Sequence[str]
) -> Image.Image:
    texts = [class_names[label] for label in labels.tolist()]
    if scores is not None:
        texts = [f"{text} {score:.2f}" for text, score in zip(texts, scores.tolist(), strict=True)]
    entries = [
        DrawnBox(tuple(box), label, text)
        for box, label, text in zip(boxes.tolist(), labels.tolist(), texts, strict=True)
    ]
    return draw_boxes(Image.fromarray(pixels), entries, WIDTH / pixels.shape[1])
