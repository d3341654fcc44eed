"""Writers of a training's metrics and images: console, JSON, TensorBoard, Weights & Biases."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.utils.events import (
    CommonMetricPrinter,
    EventWriter,
    JSONWriter,
    TensorboardXWriter,
    get_event_storage,
)
from omegaconf import DictConfig, OmegaConf

from ..class_names import ClassNames
from ..packages import require
from .metrics import SMOOTHED, drop_metrics_from


def build_writers(cfg: DictConfig, first: int | None = None) -> list[EventWriter]:
    """Return writers for the console, ``metrics.json`` and those that the config asks for.

    Args:
        first: first iteration that a resumed training writes; entries of this and later iterations
            are dropped from the files. None: a new training.

    Raises:
        MissingDependencyError: ``train.wandb.enabled`` without the package.
    """
    folder = Path(cfg.train.output_dir)
    wandb = [WandbWriter(cfg, resume=first is not None)] if cfg.train.wandb.enabled else []
    writers: list[EventWriter] = [
        CommonMetricPrinter(cfg.train.max_iter),
        MetricsFile(folder / "metrics.json", first),
        *wandb,
    ]
    if "tensorboard" in cfg.train.writers:  # a new training hides an earlier one in its folder
        writers.append(TensorboardXWriter(str(folder), purge_step=first or 0))
    writers.append(_ClearImages())
    return writers


class MetricsFile(JSONWriter):
    """Write one JSON object per line; a resumed training goes on after its checkpoint's iteration.

    Args:
        first: see `build_writers`.
    """

    def __init__(self, path: Path, first: int | None = None) -> None:
        last = -1 if first is None else drop_metrics_from(path, first)
        super().__init__(str(path), SMOOTHED)
        self._last_write = last


class WandbWriter(EventWriter):
    """Send scalars and images to Weights & Biases, or keep them here (``mode="offline"``).

    A resumed training goes on in the run whose id is in its output folder.

    Args:
        cfg: the whole config, which is stored with the run.
        resume: else a new run begins.
    """

    def __init__(self, cfg: DictConfig, resume: bool) -> None:
        self.wandb = require("wandb", "train.wandb.enabled")
        self.last = -1
        folder = Path(cfg.train.output_dir)
        id_file = folder / "wandb_run_id"
        is_known = resume and id_file.is_file()
        run_id = id_file.read_text(encoding="utf-8").strip() if is_known else None
        params = {"dir": str(folder)} | OmegaConf.to_container(cfg.train.wandb.params)
        os.makedirs(params["dir"], exist_ok=True)
        self.run = self.wandb.init(
            **params,
            id=run_id,
            resume="allow",
            config=_plain(cfg),
        )
        id_file.write_text(self.run.id, encoding="utf-8")

    def write(self) -> None:
        """Log the values that are new since the last call."""
        storage = get_event_storage()
        by_step: dict[int, dict[str, Any]] = {}
        for name, (value, step) in storage.latest_with_smoothing_hint(SMOOTHED).items():
            if step > self.last:
                by_step.setdefault(step, {})[name] = value
        for name, pixels, step in storage._vis_data:
            image = self.wandb.Image(np.moveaxis(np.asarray(pixels), 0, -1))
            by_step.setdefault(step, {})[name] = image
        for step in sorted(by_step):
            self.run.log(by_step[step], step=step)
        self.last = max([self.last, *by_step])

    def close(self) -> None:
        """Finish the run."""
        self.run.finish()


class _ClearImages(EventWriter):
    """The last writer: clears the images, so that each is written once."""

    def write(self) -> None:
        get_event_storage().clear_images()


def _plain(cfg: DictConfig) -> dict[str, Any]:
    """Return the config as text and numbers."""
    content = OmegaConf.to_container(cfg, resolve=False)

    def as_text(value: object) -> object:
        return list(value) if isinstance(value, ClassNames) else str(value)

    return json.loads(json.dumps(content, default=as_text))
