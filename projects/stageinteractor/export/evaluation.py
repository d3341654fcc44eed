"""COCO AP of exported files beside that of the model, on the images of ``dataloader.test``."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from detectron2.structures import Boxes, Instances
from omegaconf import DictConfig
from tabulate import tabulate
from torch import nn

from ..engine.evaluation import Metrics, run_evaluation
from ..engine.setup import prepare
from ..modeling.postprocessing import rescale
from .formats import Runner

FIELDS = ("boxes", "scores", "labels")
MEASURES = ("AP", "AP50", "AP75")


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


def evaluate_detector(cfg: DictConfig, detector: nn.Module) -> Metrics:
    """Return the metrics of a detector on ``dataloader.test``.

    Args:
        cfg: of the run; it stays as it is, and so do the run's files.
        detector: the model, on the CPU, or a `FileDetector`.
    """
    cfg = copy.deepcopy(cfg)
    cfg.train.device = "cpu"
    with tempfile.TemporaryDirectory() as folder:
        cfg.train.output_dir = folder
        cfg.dataloader.evaluator.output_dir = folder
        prepare(cfg)
        return run_evaluation(cfg, detector)


def ap_table(results: Mapping[str, Metrics]) -> str:
    """Return AP, AP50 and AP75 as text, with the difference to the first row's AP."""
    boxes = {name: metrics["bbox"] for name, metrics in results.items()}
    first = next(iter(boxes.values()))["AP"]
    rows = [
        [name, *(f"{ap[measure]:.2f}" for measure in MEASURES), f"{ap['AP'] - first:+.2f}"]
        for name, ap in boxes.items()
    ]
    return tabulate(rows, headers=["", *MEASURES, "AP difference"], disable_numparse=True)
