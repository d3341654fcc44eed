"""Prediction on tiles of large images, by supervision's slicer: small objects stay large enough.

Overlapping tiles detect an object twice, and cut objects in part. Of two boxes of a class whose
intersection covers half of the smaller one, the lower-scoring one is removed. Masks, which would
be as large as the image for every detection, are left out.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from ..data.image_io import load_image
from ..errors import ConfigError
from ..packages import require
from .class_metadata import ClassMetadata
from .inputs import PredictorInput, check_batch, to_image_source

if TYPE_CHECKING:
    from ..predictor import Predictor

logger = logging.getLogger(__name__)
MIN_TILE = 32  # pixels
OVERLAP = 0.2  # of a tile's side
COVERED = 0.5  # of the smaller box


class TiledPredictor:
    """Detects objects in square tiles of every image.

    Args:
        predictor: run on every tile.
        size: side of a tile in pixels of the image; smaller images are one tile.
        batch_size: tiles per forward pass.

    Raises:
        ConfigError: the tiles are smaller than 32 pixels.
        MissingDependencyError: supervision is not installed.
    """

    def __init__(self, predictor: Predictor, size: int, batch_size: int = 1) -> None:
        if size < MIN_TILE:
            raise ConfigError(f"tiles of {size} pixels: give at least {MIN_TILE}")
        self.predictor = predictor
        self.supervision = require("supervision", "prediction on tiles")
        self._warned = False
        self.slicer = self.supervision.InferenceSlicer(
            self._detect_all if batch_size > 1 else self._detect,
            slice_wh=size,
            overlap_wh=round(OVERLAP * size),
            overlap_filter="non_max_suppression",
            overlap_metric="IOS",  # intersection over the smaller area
            iou_threshold=COVERED,
            batch_size=batch_size,
        )

    @property
    def classes(self) -> ClassMetadata:
        """Names and category ids of the classes."""
        return self.predictor.classes

    def batch(self, images: Sequence[PredictorInput]) -> list[Instances]:
        """Return the detections of images as `Predictor.batch` does, best first."""
        check_batch(images)
        return [self._whole(np.asarray(load_image(to_image_source(each)))) for each in images]

    def _whole(self, pixels: np.ndarray) -> Instances:
        merged = self.slicer(pixels)
        if len(merged):
            merged = merged[np.argsort(-merged.confidence, kind="stable")]
        instances = Instances(pixels.shape[:2])
        instances.pred_boxes = Boxes(torch.as_tensor(merged.xyxy, dtype=torch.float32))
        empty = np.zeros(0)
        scores, classes = (empty if x is None else x for x in (merged.confidence, merged.class_id))
        instances.scores = torch.as_tensor(scores, dtype=torch.float32)
        instances.pred_classes = torch.as_tensor(classes, dtype=torch.int64)
        return instances

    def _detect(self, tile: np.ndarray) -> Any:
        """Return the detections of a tile (H, W, 3), RGB, clipped to it."""
        return self._detect_all([tile])[0]

    def _detect_all(self, tiles: Sequence[np.ndarray]) -> list[Any]:
        """Return the detections of several tiles, which may differ in size."""
        results = []
        for instances in self.predictor.batch([np.ascontiguousarray(tile) for tile in tiles]):
            if instances.has("pred_masks") and not self._warned:
                logger.warning("prediction on tiles returns boxes: the model's masks are left out")
                self._warned = True
            boxes = instances.pred_boxes.clone()
            boxes.clip(instances.image_size)
            results.append(
                self.supervision.Detections(
                    xyxy=boxes.tensor.numpy(),
                    confidence=instances.scores.numpy(),
                    class_id=instances.pred_classes.numpy(),
                )
            )
        return results
