"""From the last stage's logits and boxes to detections.

Top-k over all pairs of query and class, no score threshold, no NMS (paper: section 4.1; NMS can be
added as a module, table A5). Boxes are not clipped to the image, as in the published model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from ..nms import grouped_nms


class Detections(NamedTuple):
    """Detections of one image, best first: `Instances` without detectron2."""

    boxes: Tensor  # (K, 4), xyxy pixels
    scores: Tensor  # (K,)
    labels: Tensor  # (K,), long
    queries: Tensor  # (K,), long: which query each comes from


class Postprocessing(Protocol):
    """Selects detections from predictions, as `TopK` does."""

    def __call__(
        self,
        logits: Tensor,
        boxes: Tensor,
        image_sizes: Sequence[Sequence[float]],
        query_mask: Tensor | None = None,
    ) -> list[Instances]:
        """Return the detections of every image; arguments as in `TopK`."""


class TopK:
    """Keep the best pairs of query and class; a query may be kept with several classes.

    Args:
        max_detections: the most detections an image can have.
    """

    max_batch: int | None = None  # images of an exported graph; None: any number

    def __init__(self, max_detections: int = 100) -> None:
        if max_detections < 1:
            raise ValueError(f"max_detections must be at least 1, got {max_detections}")
        self.max_detections = max_detections

    def __call__(
        self,
        logits: Tensor,
        boxes: Tensor,
        image_sizes: Sequence[Sequence[float]],
        query_mask: Tensor | None = None,
    ) -> list[Instances]:
        """Return the detections of every image, best first, on the device of the logits.

        Args:
            logits: (B, N, C).
            boxes: (B, N, 4), xyxy pixels.
            image_sizes: B times (height, width), on the host: avoids a GPU synchronisation.
            query_mask: (B, N) bool: True for real queries; padding gives no detections.
        """
        if query_mask is not None:
            logits = logits.float().masked_fill(~query_mask.unsqueeze(-1), -torch.inf)
        detections = self.select(logits, boxes)
        if query_mask is not None:
            detections = [_subset(each, each.scores > 0) for each in detections]  # no padding
        return [
            Instances(
                (int(height), int(width)),
                pred_boxes=Boxes(each.boxes),
                scores=each.scores,
                pred_classes=each.labels,
            )
            for each, (height, width) in zip(detections, image_sizes, strict=True)
        ]

    def select(self, logits: Tensor, boxes: Tensor) -> list[Detections]:
        """Return the same as plain tensors, from logits (B, N, C) and boxes (B, N, 4)."""
        parts = zip(*self.top_k(logits, boxes), strict=True)
        return [Detections(*image) for image in parts]

    def top_k(self, logits: Tensor, boxes: Tensor) -> Detections:
        """Return the top-k of a batch: boxes (B, K, 4), the other fields (B, K)."""
        num_classes = logits.shape[-1]
        flat = logits.float().sigmoid().flatten(1)
        scores, index = flat.topk(min(self.max_detections, flat.shape[1]), dim=1)
        query = index.div(num_classes, rounding_mode="floor")
        chosen = boxes.float().gather(1, query.unsqueeze(-1).expand(-1, -1, 4))
        return Detections(chosen, scores, index % num_classes, query)


class TopKNms(TopK):
    """Top-k, then NMS within each class.

    Args:
        max_detections: the most detections an image can have.
        iou_threshold: of two boxes of a class with a higher IoU, the lower-scoring one is removed.
    """

    max_batch = 1  # images keep different numbers of detections

    def __init__(self, max_detections: int = 100, iou_threshold: float = 0.75) -> None:
        super().__init__(max_detections)
        self.iou_threshold = iou_threshold

    def select(self, logits: Tensor, boxes: Tensor) -> list[Detections]:
        """Return the top-k after NMS, from logits (B, N, C) and boxes (B, N, 4)."""
        top_k = super().select(logits, boxes)
        return [_subset(each, grouped_nms(*each[:3], self.iou_threshold)) for each in top_k]


def _subset(detections: Detections, kept: Tensor) -> Detections:
    """Return the detections that a mask or an index picks."""
    return Detections(*(field[kept] for field in detections))


def rescale(instances: Instances, height: int, width: int) -> Instances:
    """Return the detections in pixels of the original image of this height and width."""
    old_height, old_width = instances.image_size
    boxes = instances.pred_boxes.tensor.clone()
    boxes[:, 0::2] *= width / old_width  # numbers, not a tensor: nothing is copied to the device
    boxes[:, 1::2] *= height / old_height
    result = Instances((height, width), **instances.get_fields())
    result.pred_boxes = Boxes(boxes)
    return result
