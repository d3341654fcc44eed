"""A self-contained HTML page to step through stages and images and to follow single queries."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from ...files import atomic_write_text
from ..static_page import jpeg_url
from .query_labels import ImageAssignment, gt_history, query_labels
from .stage_panels import gt_color
from .summary import Summary

PLACEHOLDER = "/*DATA*/null"


def write_page(
    items: Sequence[ImageAssignment],
    class_names: Sequence[str],
    summary: Summary,
    path: str | Path,
) -> None:
    """Write the page; images and data are embedded, nothing is loaded from elsewhere."""
    data = {"images": [_image(item, class_names) for item in items], "summary": asdict(summary)}
    template = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    atomic_write_text(path, template.replace(PLACEHOLDER, script_literal(data), 1))


def script_literal(data: Any) -> str:
    """Return data as a JavaScript literal to embed in a page's script.

    It is ASCII without ``<``, ``>`` and ``&``, so that no name, such as ``<!--<script>``, ends or
    changes the script element.
    """
    text = json.dumps(data, separators=(",", ":"))
    return re.sub("[<>&]", lambda match: f"\\u{ord(match[0]):04x}", text)


def _image(item: ImageAssignment, class_names: Sequence[str]) -> dict[str, Any]:
    height, width = item.image.shape[:2]
    names = [class_names[index] for index in item.gt_classes.tolist()]
    boxes = _rounded(item.gt_boxes)
    gt_boxes = [
        {"name": name, "box": box, "color": gt_color(index), "history": history}
        for index, (name, box, history) in enumerate(
            zip(names, boxes, gt_history(item), strict=True)
        )
    ]
    stages: list[list[dict[str, Any]]] = [
        [
            {
                "query": label.query,
                "gt": label.gt_index,
                "kind": label.kind,
                "sources": label.sources,
                "iou": round(label.iou, 3),
                "score": round(label.score, 3),
            }
            for label in query_labels(item, stage)
        ]
        for stage in range(len(item.matches))
    ]
    tracks = _rounded(item.boxes.transpose(0, 1))  # [query][stage]
    shown = {label["query"] for labels in stages for label in labels}
    return {
        "name": item.name,
        "width": width,
        "height": height,
        "source": jpeg_url(Image.fromarray(item.image), quality=90),
        "gt": gt_boxes,
        "stages": stages,
        "boxes": {query: tracks[query] for query in sorted(shown)},
    }


def _rounded(boxes: Tensor) -> list[Any]:
    return boxes.double().round(decimals=1).tolist()  # of float32 more digits would be written
