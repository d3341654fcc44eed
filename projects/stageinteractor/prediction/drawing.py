"""Detections as boxes on a picture."""

from __future__ import annotations

from detectron2.structures import Instances
from PIL import Image

from ..visualization.box_drawing import DrawnBox, draw_boxes
from .class_metadata import ClassMetadata

SMALLEST = 640  # pixels of the long side; smaller pictures are enlarged, so that texts fit


def draw_detections(
    picture: Image.Image, found: Instances, classes: ClassMetadata, largest: int | None = None
) -> Image.Image:
    """Return a copy of a picture, enlarged if it is small, with boxes, classes and scores.

    Args:
        picture: RGB.
        found: its detections, best first; the best are drawn last, on top.
        classes: for the names.
        largest: pixels of the long side, to which larger pictures are reduced.
    """
    scale = max(1.0, SMALLEST / max(picture.size))
    if largest is not None:
        scale = min(scale, largest / max(picture.size))
    width = max(2, round(min(picture.size) * scale / 250))
    boxes = [
        DrawnBox((x0, y0, x1, y1), index, f"{classes.name(index)} {score:.2f}", width=width)
        for (x0, y0, x1, y1), score, index in reversed(detections(found))
    ]
    return draw_boxes(picture, boxes, scale, text_above=True)


def detections(found: Instances) -> list[tuple[list[float], float, int]]:
    """Return box (xyxy pixels), score and class index of every detection."""
    boxes = found.pred_boxes.tensor.tolist()
    return list(zip(boxes, found.scores.tolist(), found.pred_classes.tolist(), strict=True))
