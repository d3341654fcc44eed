"""Where the numbers and pictures of a training go: console, JSON, TensorBoard, Weights & Biases."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.engine import HookBase, hooks
from detectron2.utils.events import (
    CommonMetricPrinter,
    EventWriter,
    JSONWriter,
    TensorboardXWriter,
    get_event_storage,
)
from omegaconf import DictConfig, OmegaConf

from ..class_names import ClassNames
from ..data.coco_format import read_coco
from ..errors import ConfigError, DataError, MissingDependencyError
from ..evaluation.coco_results import RESULTS_FILE, read_results
from ..files import write_errors_of
from ..visualization.detections import comparison_grid
from .metrics import SMOOTHED, forget_metrics_from

logger = logging.getLogger(__name__)
KNOWN = ("tensorboard", "wandb")
PICTURES = 6  # images drawn at each evaluation


def build_writers(cfg: DictConfig, first: int = 0) -> list[EventWriter]:
    """Return the console and ``metrics.json``, and what ``train.writers`` names.

    Args:
        cfg: the whole config.
        first: the iteration that a resumed training is going to write first; what an earlier part
            of the run wrote about it and later ones is dropped.

    Raises:
        ConfigError: an unknown name.
        MissingDependencyError: "wandb" without the package.
    """
    names = list(cfg.train.writers)
    unknown = [name for name in names if name not in KNOWN]
    if unknown:
        raise ConfigError(f"train.writers has {unknown}: choose from {', '.join(KNOWN)}")
    folder = Path(cfg.train.output_dir)
    writers: list[EventWriter] = [
        CommonMetricPrinter(cfg.train.max_iter),
        MetricsFile(folder / "metrics.json", first),
    ]
    if "wandb" in names:
        writers.append(WandbWriter(cfg))
    if "tensorboard" in names:
        writers.append(TensorboardXWriter(str(folder), purge_step=first or None))
    writers.append(_ForgetImages())
    return writers


class PeriodicWriter(hooks.PeriodicWriter):
    """detectron2's hook, which also writes after evaluations and says where it could not write.

    Args:
        writers: as of `build_writers`.
        period: iterations between two calls of theirs.
        folder: where they write to.
        metric: an evaluation has taken place when this metric has a new value.
    """

    def __init__(self, writers: list[EventWriter], period: int, folder: str, metric: str) -> None:
        super().__init__(writers, period)
        self.folder = folder
        self.metric = metric

    def after_step(self) -> None:
        """Write if it is time."""
        _, evaluated = self.trainer.storage.latest().get(self.metric, (0.0, -1))
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


class MetricsFile(JSONWriter):
    """One JSON object a line; a resumed training goes on where its checkpoint was written.

    Args:
        path: of the file.
        first: as of `build_writers`.
    """

    def __init__(self, path: Path, first: int = 0) -> None:
        last = forget_metrics_from(path, first) if first else -1
        super().__init__(str(path), SMOOTHED)
        self._last_write = last


class WandbWriter(EventWriter):
    """Send scalars and pictures to Weights & Biases; ``train.wandb.mode=offline`` keeps them here.

    A resumed training goes on in the run that its output folder names.

    Args:
        cfg: the whole config, which is stored with the run.
    """

    def __init__(self, cfg: DictConfig) -> None:
        try:
            import wandb
        except ImportError as error:
            raise MissingDependencyError(
                "train.writers has 'wandb': pip install 'stageinteractor[wandb]'"
            ) from error
        self.wandb = wandb
        self.last = -1
        folder = Path(cfg.train.output_dir)
        note = folder / "wandb_run_id"
        run_id = note.read_text(encoding="utf-8").strip() if note.is_file() else None
        self.run = wandb.init(
            project=cfg.train.wandb.project,
            name=cfg.train.wandb.name,
            mode=cfg.train.wandb.mode,
            dir=str(folder),
            id=run_id,
            resume="allow",
            config=_plain(cfg),
        )
        note.write_text(self.run.id, encoding="utf-8")

    def write(self) -> None:
        """Log what is new since the last time."""
        storage = get_event_storage()
        by_step: dict[int, dict[str, Any]] = {}
        for name, (value, step) in storage.latest_with_smoothing_hint(SMOOTHED).items():
            if step > self.last:
                by_step.setdefault(step, {})[name] = value
        for name, picture, step in storage._vis_data:
            image = self.wandb.Image(np.moveaxis(np.asarray(picture), 0, -1))
            by_step.setdefault(step, {})[name] = image
        for step in sorted(by_step):
            self.run.log(by_step[step], step=step)
        self.last = max([self.last, *by_step])

    def close(self) -> None:
        """Finish the run."""
        self.run.finish()


class _ForgetImages(EventWriter):
    """The last writer: pictures are written once."""

    def write(self) -> None:
        get_event_storage().clear_images()


class PredictionImages(HookBase):
    """Hand a grid of ground truth beside predictions to the writers after each evaluation.

    Must come after the hook that evaluates.

    Args:
        cfg: ``dataset.val`` and ``train.output_dir`` name the images and the detections.
        metric: an evaluation has taken place when this metric has a new value.
    """

    def __init__(self, cfg: DictConfig, metric: str) -> None:
        self.cfg = cfg
        self.metric = metric
        self.seen = -1

    def before_train(self) -> None:
        """Leave metrics alone that a checkpoint brought with it."""
        self.seen = self.trainer.start_iter - 2

    def after_step(self) -> None:
        """Look for an evaluation."""
        self._look()

    def after_train(self) -> None:
        """Look for the final evaluation."""
        self._look()

    def _look(self) -> None:
        storage = self.trainer.storage
        _, iteration = storage.latest().get(self.metric, (0.0, -1))
        if iteration <= self.seen:
            return
        self.seen = iteration
        results = Path(self.cfg.train.output_dir) / RESULTS_FILE
        if not results.is_file():  # an evaluator of somebody else's may write elsewhere
            return
        try:
            storage.put_image("predictions", self._picture(results))
        except DataError as error:  # no reason to end a training
            logger.warning("no image of predictions: %s", error)

    def _picture(self, results: Path) -> torch.Tensor:
        val = self.cfg.dataset.val
        coco_set = read_coco(val.json, "dataset.val.json")
        detections = read_results(results, coco_set)
        grid = comparison_grid(coco_set, val.images, detections, count=PICTURES, pairs=2)
        return torch.from_numpy(np.moveaxis(np.asarray(grid), -1, 0).copy())


def _plain(cfg: DictConfig) -> dict[str, Any]:
    """Return the config as text and numbers."""
    content = OmegaConf.to_container(cfg, resolve=False)
    return json.loads(json.dumps(content, default=_as_text))


def _as_text(value: Any) -> Any:
    return list(value) if isinstance(value, ClassNames) else str(value)
