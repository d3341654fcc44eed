"""Hooks that run after an evaluation: they see it by a new value of ``train.best_metric``."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from detectron2.engine import HookBase, TrainerBase
from detectron2.engine.hooks import PeriodicWriter as Detectron2PeriodicWriter
from detectron2.utils.events import EventWriter
from omegaconf import DictConfig
from PIL import Image

from ..data.coco_format import CocoSet, read_coco
from ..errors import DataError
from ..evaluation.coco_results import RESULTS_FILE, read_results
from ..files import write_errors_of

logger = logging.getLogger(__name__)
NUM_IMAGES = 6  # drawn after each evaluation


def latest_evaluation(trainer: TrainerBase, metric: str) -> tuple[float, int]:
    """Return the latest value of a metric and the iteration it belongs to; NaN and -1 if none."""
    return trainer.storage.latest().get(metric, (float("nan"), -1))


class AfterEvaluation(HookBase, ABC):
    """Base of the hooks that run once after each evaluation, also after the last.

    They must come after the hook that evaluates.

    Args:
        metric: an evaluation has taken place when this metric has a new value.
    """

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.last_iteration = -1

    def before_train(self) -> None:
        """Ignore metrics that a checkpoint brought with it."""
        self.last_iteration = max(self.trainer.start_iter - 2, -1)

    def after_step(self) -> None:
        """Call `after_evaluation` if there is a new value."""
        value, iteration = latest_evaluation(self.trainer, self.metric)
        if iteration > self.last_iteration:
            self.last_iteration = iteration
            self.after_evaluation(float(value), int(iteration))

    def after_train(self) -> None:
        """Call `after_evaluation` for the final evaluation."""
        self.after_step()

    @abstractmethod
    def after_evaluation(self, value: float, iteration: int) -> None:
        """Act on the metric's new value, of the weights after ``iteration``."""


class DrawDetections(Protocol):
    """Draws images of a set with ground truth beside detections, in one grid."""

    def __call__(
        self,
        coco_set: CocoSet,
        image_root: str | Path,
        results: Sequence[dict[str, Any]],
        *,
        count: int,
        pairs: int,
    ) -> Image.Image:
        """Return the grid, of ``count`` images with ``pairs`` of them in a row.

        Args:
            results: detections in COCO's results format.
        """
        ...


class DrawSamples(Protocol):
    """Draws training images as the model receives them, in one grid."""

    def __call__(
        self, records: Sequence[dict[str, Any]], class_names: Sequence[str], image_format: str
    ) -> Image.Image:
        """Return the grid of mapped records, with "image" (3, H, W) and "instances"."""
        ...


class PredictionImages(AfterEvaluation):
    """Put a grid of ground truth beside predictions into the storage, for the writers.

    Args:
        cfg: ``dataset.val`` and ``train.output_dir`` name the images and the detections.
    """

    def __init__(self, cfg: DictConfig, metric: str, draw: DrawDetections) -> None:
        super().__init__(metric)
        self.cfg = cfg
        self.draw = draw

    def after_evaluation(self, value: float, iteration: int) -> None:
        """Draw the detections of the evaluation."""
        results = Path(self.cfg.train.output_dir) / RESULTS_FILE
        if not results.is_file():  # another evaluator may write elsewhere
            return
        try:
            self.trainer.storage.put_image("predictions", self._grid(results))
        except DataError as error:  # no reason to end a training
            logger.warning("no image of predictions: %s", error)

    def _grid(self, results: Path) -> torch.Tensor:
        val = self.cfg.dataset.val
        coco_set = read_coco(val.json, "dataset.val.json")
        detections = read_results(results, coco_set)
        grid = self.draw(coco_set, val.images, detections, count=NUM_IMAGES, pairs=2)
        return torch.from_numpy(np.moveaxis(np.asarray(grid), -1, 0).copy())  # (3, H, W)


class PeriodicWriter(Detectron2PeriodicWriter):
    """detectron2's hook, which also writes after evaluations and names what it could not write."""

    def __init__(self, writers: list[EventWriter], period: int, folder: str, metric: str) -> None:
        super().__init__(writers, period)
        self.folder = folder
        self.metric = metric

    def after_step(self) -> None:
        """Write every ``period`` iterations and after an evaluation."""
        _, evaluated = latest_evaluation(self.trainer, self.metric)
        is_due = (self.trainer.iter + 1) % self._period == 0
        with write_errors_of(Path(self.folder)):
            super().after_step()
            if evaluated == self.trainer.iter and not is_due:
                for writer in self._writers:
                    writer.write()

    def after_train(self) -> None:
        """Write what is left."""
        with write_errors_of(Path(self.folder)):
            super().after_train()
