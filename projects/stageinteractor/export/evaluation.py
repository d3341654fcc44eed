"""COCO AP of exported files beside that of the model, on the images of ``dataloader.test``."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping

from omegaconf import DictConfig
from tabulate import tabulate
from torch import nn

from ..engine.evaluation import Metrics, run_evaluation
from ..engine.setup import prepare

MEASURES = ("AP", "AP50", "AP75")


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
        prepare(cfg, eval_only=True, log_file=False)
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
