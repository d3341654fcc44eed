"""Detections drawn as boxes on an image."""

from __future__ import annotations

import numpy as np
from detectron2.structures import Instances
from PIL import Image

from ..visualization.box_drawing import DrawnBox, draw_boxes
from .class_metadata import ClassMetadata
from .tracking import track_ids_of

MIN_SIDE = 640  # pixels of the long side; smaller images are enlarged, so that labels fit


def draw_detections(
    image: Image.Image, instances: Instances, classes: ClassMetadata, max_side: int | None = None
) -> Image.Image:
    """Return a copy of an RGB image with boxes, masks if there are any, class names and scores.

    Args:
        image: enlarged if its long side is shorter than `MIN_SIDE`.
        instances: best first; the best are drawn last, on top.
        max_side: pixels of the long side to which larger images are reduced.
    """
    scale = max(1.0, MIN_SIDE / max(image.size))
    if max_side is not None:
        scale = min(scale, max_side / max(image.size))
    width = max(2, round(min(image.size) * scale / 250))
    masks = detection_masks(instances)
    suffixes = ["" if n is None else f" #{n}" for n in track_ids_of(instances)]
    boxes = [
        DrawnBox(
            (x0, y0, x1, y1),
            label,
            f"{classes.name(label)} {score:.2f}{suffixes[index]}",
            width=width,
            mask=None if masks is None else masks[index],
        )
        for index, ((x0, y0, x1, y1), score, label) in enumerate(detection_rows(instances))
    ]
    boxes.reverse()
    return draw_boxes(image, boxes, scale, text_above=True)


def detection_masks(instances: Instances) -> np.ndarray | None:
    """Return the masks (n, H, W) of the detections, bool; None if the model predicts none."""
    return (instances.pred_masks > 0).cpu().numpy() if instances.has("pred_masks") else None


def detection_rows(instances: Instances) -> list[tuple[list[float], float, int]]:
    """Return box (xyxy pixels), score and class index of every detection."""
    boxes = instances.pred_boxes.tensor.tolist()
    return list(zip(boxes, instances.scores.tolist(), instances.pred_classes.tolist(), strict=True))
