"""A file in place of a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2.structures import Boxes, Instances
from torch import nn

from ..modeling.postprocessing import rescale
from .formats import Runner

FIELDS = ("boxes", "scores", "labels")


class FileDetector(nn.Module):
    """An exported file as a detectron2 model.

    Args:
        run: of `run_onnx` or `run_torch`.
    """

    def __init__(self, run: Runner) -> None:
        super().__init__()
        self.run = run

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Return the detections of images (3, H, W), each run by itself, as the model's are."""
        return [{"instances": self._detect(item)} for item in batched_inputs]

    def _detect(self, item: dict[str, Any]) -> Instances:
        image = item["image"].float()
        height, width = image.shape[1:]
        outputs = self.run(image[None].numpy(), np.array([[height, width]]))
        boxes, scores, labels = (torch.from_numpy(outputs[name][0]) for name in FIELDS)
        instances = Instances((height, width))
        instances.pred_boxes = Boxes(boxes)
        instances.scores, instances.pred_classes = scores, labels
        return rescale(instances, item.get("height", height), item.get("width", width))
