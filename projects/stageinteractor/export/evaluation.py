"""COCO AP of exported files beside that of the model, on the images of ``dataloader.test``."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.structures import Boxes, Instances
from omegaconf import DictConfig
from tabulate import tabulate
from torch import nn

from ..engine.evaluation import run_evaluation
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


def evaluate_files(
    cfg: DictConfig,
    model: nn.Module,
    files: Mapping[Path, Runner],
    log: Callable[[str], None] = print,
) -> dict[str, dict[str, float]]:
    """Evaluate the model and its files, and log a table of AP with the differences.

    Args:
        cfg: of the run; it stays as it is, and so do the run's metrics.
        model: on the CPU.
        files: exported files, and what runs them.

    Returns:
        AP, AP50 and AP75 in per cent for "model" and for the name of every file.
    """
    cfg = copy.deepcopy(cfg)
    cfg.train.device = "cpu"
    detectors = {"model": model} | {path.name: FileDetector(run) for path, run in files.items()}
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        cfg.train.output_dir = folder
        cfg.dataloader.evaluator.output_dir = folder
        prepare(cfg)
        for name, detector in detectors.items():
            metrics = run_evaluation(cfg, detector)["bbox"]
            results[name] = {measure: metrics[measure] for measure in MEASURES}
    log(ap_table(results))
    return results


def ap_table(results: Mapping[str, Mapping[str, float]]) -> str:
    """Return AP, AP50 and AP75 as text, with the difference to the first row's AP."""
    first = next(iter(results.values()))["AP"]
    rows = [
        [name, *(f"{ap[measure]:.2f}" for measure in MEASURES), f"{ap['AP'] - first:+.2f}"]
        for name, ap in results.items()
    ]
    return tabulate(rows, headers=["", *MEASURES, "AP difference"], disable_numparse=True)
