"""A sheet of training images as the model receives them, with their boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from .box_drawing import DrawnBox, draw_boxes, image_grid

WIDTH = 320  # pixels of a drawn image
COLUMNS = 4


def training_sheet(
    records: Sequence[dict[str, Any]], class_names: Sequence[str], image_format: str = "RGB"
) -> Image.Image:
    """Return a grid of mapped records.

    Args:
        records: with "image" (3, H, W) in 0 to 255 and "instances".
        image_format: "RGB", or "BGR", in which the channels are stored.
    """
    drawn = []
    for record in records:
        pixels = np.moveaxis(record["image"].numpy(), 0, -1).astype(np.uint8)
        pixels = pixels[:, :, ::-1] if image_format == "BGR" else pixels
        instances = record["instances"]
        boxes = [
            DrawnBox(tuple(box), label, class_names[label])
            for box, label in zip(
                instances.gt_boxes.tensor.tolist(), instances.gt_classes.tolist(), strict=True
            )
        ]
        image = Image.fromarray(np.ascontiguousarray(pixels))
        drawn.append(draw_boxes(image, boxes, WIDTH / image.width))
    return image_grid(drawn, COLUMNS)
