"""Make a config ready to run: data sets, length, device, seed, output folder."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path

import torch
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger
from omegaconf import DictConfig, OmegaConf

from ..data.registration import resolve_dataset, training_images
from ..errors import ConfigError
from ..files import write_errors_of
from ..schema import check_config, require_keys
from .config_checks import check_data_nodes, check_model_classes
from .printable_logs import escape_log_messages

logger = logging.getLogger(__name__)
NEEDED = (
    *(f"train.{key}" for key in ("output_dir", "device", "seed", "max_iter", "epochs")),
    *("train.fast_dev_run", "dataset.name", "dataset.train", "dataset.val"),
)
FAST_ITERATIONS = 3
FAST_IMAGES = 8


def check_settings(cfg: DictConfig) -> None:
    """Look at the settings before anything is built or written, and put paths and numbers right.

    Raises:
        ConfigError: a key is missing or has a value that it cannot have.
    """
    require_keys(cfg, NEEDED)
    check_config(cfg)


def prepare(cfg: DictConfig) -> None:
    """Fill in what a config leaves to be found out, and set up logging, seed and output folder.

    Changes ``cfg`` in place: the classes of the data set, ``train.max_iter`` from ``train.epochs``,
    and everything that ``train.fast_dev_run`` shortens. A prepared config can be prepared again
    with the same result. Of a run's files, none is written but its log.
    """
    check_settings(cfg)
    fast = cfg.train.fast_dev_run
    _set_up_logging(cfg.train.output_dir)
    cfg.train.device = find_device(cfg.train.device)
    resolve_dataset(cfg.dataset, _num_queries(cfg), FAST_IMAGES if fast else None)
    check_data_nodes(cfg)
    check_model_classes(cfg)
    if cfg.train.epochs is not None:
        cfg.train.max_iter = iterations(cfg)
    if fast:
        cfg.train.max_iter = FAST_ITERATIONS
        cfg.train.eval_period = cfg.train.checkpointer.period = 2
        cfg.train.log_period = 1
    seed_all_rng(cfg.train.seed + comm.get_rank())


def _set_up_logging(output_dir: str) -> None:
    rank = comm.get_rank()
    with write_errors_of(Path(output_dir)):
        for name in ("detectron2", "fvcore", "stageinteractor"):
            logger = setup_logger(output_dir, distributed_rank=rank, name=name, abbrev_name=name)
            escape_log_messages(logger)


def find_device(wanted: str, key: str = "train.device") -> str:
    """Return the device for "auto", "cpu", "cuda" or "cuda:1".

    Args:
        wanted: by the user.
        key: what the user calls it.

    Raises:
        ConfigError: there is no such device here.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise ConfigError(f"{key} {wanted!r}: use auto, cpu, cuda or cuda:1") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"{key} {wanted!r}: use auto, cpu, cuda or cuda:1")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            raise ConfigError(f"{key} {wanted!r}: torch finds no GPU; use {key}=cpu")
        if (device.index or 0) >= count:
            raise ConfigError(f"{key} {wanted!r}: the last GPU is cuda:{count - 1}")
    return wanted


def _num_queries(cfg: DictConfig) -> int:
    """Look up the number of queries where our model, detrex's and transformers' have it."""
    for key in ("model.queries", "model", "model.model.config"):
        found = OmegaConf.select(cfg, f"{key}.num_queries", default=None)
        if found is not None:
            return int(found)
    return 100


def iterations(cfg: DictConfig) -> int:
    """Return the number of optimiser steps in ``train.epochs`` epochs."""
    images = training_images(cfg.dataset, cfg.dataloader.train.dataset.filter_empty)
    return math.ceil(cfg.train.epochs * len(images) / images_per_step(cfg))


def images_per_step(cfg: DictConfig) -> int:
    """Return how many images, over all processes, one optimiser step sees."""
    return cfg.dataloader.train.total_batch_size * cfg.train.accumulate


def keep_previous(output_dir: str | os.PathLike[str], names: tuple[str, ...]) -> None:
    """Rename files of an earlier run in this folder, so that a fresh run does not mix with it."""
    for name in names:
        path = Path(output_dir) / name
        if path.is_file():
            path.replace(path.with_name(f"{path.stem}.previous{path.suffix}"))
            logger.info("%s: from an earlier run, kept with '.previous' in its name", path)
