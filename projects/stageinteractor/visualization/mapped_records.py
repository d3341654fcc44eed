"""Images as the data loader hands them to a model, with their boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.data.detection_utils import convert_image_to_rgb
from PIL import Image
from torch import Tensor

from .box_drawing import DrawnBox, draw_boxes, image_grid

WIDTH = 320  # pixels of a drawn image
COLUMNS = 4


def record_image(record: dict[str, Any], image_format: str = "RGB") -> Image.Image:
    """Return the image of a mapped record in RGB.

    Args:
        record: with "image" (3, H, W) in 0 to 255.
        image_format: of the mapper, in which the channels are stored.
    """
    pixels = convert_image_to_rgb(record["image"].permute(1, 2, 0), image_format)
    return Image.fromarray(np.ascontiguousarray(pixels.astype(np.uint8)))


def labelled_boxes(
    boxes: Tensor, classes: Tensor, class_names: Sequence[str], scores: Tensor | None = None
) -> list[DrawnBox]:
    """Return boxes (T, 4), xyxy pixels, to be drawn with their class names and scores."""
    texts = [class_names[index] for index in classes.tolist()]
    if scores is not None:
        texts = [f"{text} {score:.2f}" for text, score in zip(texts, scores.tolist(), strict=True)]
    rows = zip(boxes.tolist(), classes.tolist(), texts, strict=True)
    return [DrawnBox(tuple(box), index, text) for box, index, text in rows]


def training_sheet(
    records: Sequence[dict[str, Any]], class_names: Sequence[str], image_format: str = "RGB"
) -> Image.Image:
    """Return a grid of mapped records.

    Args:
        records: with "image" and "instances".
        image_format: see `record_image`.
    """
    drawn = []
    for record in records:
        image, truth = record_image(record, image_format), record["instances"]
        boxes = labelled_boxes(truth.gt_boxes.tensor, truth.gt_classes, class_names)
        drawn.append(draw_boxes(image, boxes, WIDTH / image.width))
    return image_grid(drawn, COLUMNS)
