"""Mosaic and mixup: one training image made from several, with the objects of all.

More objects in an image are more positive queries in a step: dense one-to-one matching (Huang et
al., "DEIM", CVPR 2025, section 3.2). Mosaic puts four images into the quarters of the first one's
area (Bochkovskiy et al., 2020); mixup blends two images (Zhang et al., ICLR 2018). Both are for the
greater part of a training; the end is better without, as the images are not natural.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.structures import Boxes, Instances
from torch import Tensor

from ..errors import ConfigError

Record = dict[str, Any]
PROBABILITY = 0.5  # of each
BLEND = 0.45, 0.55  # weight of the first image, as DEIM's
GREY = 114  # of pixels that no image covers
MIN_SIDE = 1.0  # pixels; smaller boxes are dropped
MIXED = {"gt_boxes", "gt_classes"}  # fields of objects that follow the images


class Mixing:
    """Return mapped records, of which some are made from several images.

    Random numbers are numpy's, so that the seed of a sample decides all.

    Args:
        get: mapped record of an index, with "image" (3, H, W) uint8 and "instances".
        count: number of images.
        mosaic, mixup: whether they are used, each with the probability 1/2.
    """

    def __init__(
        self, get: Callable[[int], Record], count: int, *, mosaic: bool, mixup: bool
    ) -> None:
        self.get = get
        self.count = count
        self.mosaic = mosaic
        self.mixup = mixup

    def __call__(self, index: int) -> Record:
        """Return the record of an image, with others mixed in.

        Raises:
            ConfigError: its objects have masks or keypoints, which are not mixed.
        """
        record = self._get(index)
        if self.mosaic and np.random.rand() < PROBABILITY:
            record = mosaic([record, *(self._other() for _ in range(3))])
        if self.mixup and np.random.rand() < PROBABILITY:
            record = mixup(record, self._other(), float(np.random.uniform(*BLEND)))
        return record

    def _other(self) -> Record:
        return self._get(int(np.random.randint(self.count)))

    def _get(self, index: int) -> Record:
        record = self.get(index)
        if more := set(record["instances"].get_fields()) - MIXED:
            raise ConfigError(
                f"dataloader.train.augment: mosaic and mixup are for boxes, and the mapper returns "
                f"{', '.join(sorted(more))} too: leave out one or the other"
            )
        return record


def mosaic(records: Sequence[Record]) -> Record:
    """Return a record of four images, in the quarters of the first one's area.

    Args:
        records: four, with "image" (3, H, W) and "instances"; keys of the first are kept.
    """
    height, width = records[0]["image"].shape[1:]
    top, left = -(-height // 2), -(-width // 2)
    canvas = torch.full_like(records[0]["image"], GREY)
    parts = []
    for number, record in enumerate(records):
        y, x = number // 2 * top, number % 2 * left
        size = (height - top if y else top, width - left if x else left)
        image, boxes = _fit(record, size)
        canvas[:, y : y + image.shape[1], x : x + image.shape[2]] = image
        parts.append((boxes + boxes.new_tensor([x, y, x, y]), record["instances"].gt_classes))
    return records[0] | {"image": canvas, "instances": _join(parts, (height, width))}


def mixup(record: Record, other: Record, weight: float) -> Record:
    """Return the blend of two images, in the size of the first, with the boxes of both.

    Args:
        weight: of the first image, 0 to 1.
    """
    first = record["image"]
    height, width = first.shape[1:]
    image, boxes = _fit(other, (height, width))
    second = torch.full_like(first, GREY)
    second[:, : image.shape[1], : image.shape[2]] = image
    blend = weight * first.float() + (1 - weight) * second.float()
    own = record["instances"]
    parts = [(own.gt_boxes.tensor, own.gt_classes), (boxes, other["instances"].gt_classes)]
    return record | {
        "image": blend.round().to(first.dtype),
        "instances": _join(parts, (height, width)),
    }


def _fit(record: Record, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return image and boxes (T, 4), xyxy pixels, scaled to fit into (height, width)."""
    image, boxes = record["image"], record["instances"].gt_boxes.tensor
    height, width = image.shape[1:]
    scale = min(size[0] / height, size[1] / width)
    fitted = max(int(height * scale), 1), max(int(width * scale), 1)
    # float: torch 2.14 resizes uint8 wrongly to a width of one pixel
    scaled = F.interpolate(image[None].float(), fitted, mode="bilinear", antialias=True)[0]
    factors = boxes.new_tensor([fitted[1] / width, fitted[0] / height] * 2)
    return scaled.round().clamp(0, 255).to(image.dtype), boxes * factors


def _join(parts: Sequence[tuple[Tensor, Tensor]], size: tuple[int, int]) -> Instances:
    boxes, classes = (torch.cat(each) for each in zip(*parts, strict=True))
    kept = ((boxes[:, 2:] - boxes[:, :2]) >= MIN_SIDE).all(dim=1)
    return Instances(size, gt_boxes=Boxes(boxes[kept]), gt_classes=classes[kept])
