"""The commands ``train`` and ``eval`` as functions, with the same defaults and errors."""

from __future__ import annotations

import copy
import os
from typing import TypeAlias

from detectron2.utils import comm
from omegaconf import DictConfig

from .config import Override, Overrides, apply_overrides, flatten_overrides
from .embedded import make_embedded_files
from .engine import evaluation, training
from .engine.evaluation import Metrics
from .engine.run_folder import load_run_config
from .visualization.detections import comparison_grid
from .visualization.mapped_records import training_sheet

Config: TypeAlias = str | os.PathLike[str] | DictConfig


def train(
    config: Config, *overrides: Override, resume: bool = False, trust_config: bool = False
) -> Metrics:
    """Train a detector in this process and return the metrics of the last evaluation.

    Args:
        config: name of the zoo, path of a ``.py`` or ``.yaml`` file or of a run's folder, or a
            loaded config.
        overrides: ``"key=value"``, as on the command line: ``"train.max_iter=100"``; also lists or
            tuples of them.
        resume: go on from the last checkpoint of ``train.output_dir``.
        trust_config: as ``trust`` of `stageinteractor.config.load_config`.

    Returns:
        {task: {metric: value in per cent}}, such as ``metrics["bbox"]["AP"]``.

    Raises:
        StageInteractorError: what the command reports in one line.
        SystemExit: a signal stopped the training; a checkpoint has been written.
    """
    cfg = read_config(config, overrides, trust_config)
    return training.train(cfg, resume, draw=comparison_grid, draw_samples=training_sheet)


def evaluate(
    config: Config,
    *overrides: Override,
    precision: str | None = None,
    trust_config: bool = False,
) -> Metrics:
    """Evaluate a trained detector and return the metrics; a run's files stay as they are.

    Args:
        config, overrides, trust_config: see `train`; ``"train.init_checkpoint=FILE"`` names the
            weights, by default the last checkpoint beside ``config.yaml`` or in
            ``train.output_dir``.
        precision: "float32", "bf16", or "fp16" on a GPU; by default ``train.eval_precision``.

    Raises:
        StageInteractorError: what the command reports in one line.
    """
    if precision is not None:
        overrides += (f"train.eval_precision={precision}",)
    cfg = read_config(config, overrides, trust_config)
    texts = flatten_overrides(overrides)
    is_named = any(text.startswith("train.init_checkpoint=") for text in texts)
    return evaluation.evaluate(cfg, cfg.train.init_checkpoint if is_named else None)


def read_config(
    config: Config, overrides: Overrides = (), trust_config: bool = False
) -> DictConfig:
    """Load a config, apply overrides, and make the embedded files that it needs.

    Args:
        config, overrides, trust_config: see `train`. A loaded config is copied.

    Raises:
        ConfigError: it cannot be read, or an override cannot be applied.
    """
    if isinstance(config, DictConfig):
        cfg = copy.deepcopy(config)
        apply_overrides(cfg, overrides)
    else:
        cfg = load_run_config(os.path.expanduser(config), overrides, trust=trust_config)
    if comm.is_main_process():
        make_embedded_files(cfg)
    comm.synchronize()
    return cfg
