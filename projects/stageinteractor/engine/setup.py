"""Prepare a config for training or evaluation: data sets, length, device, seed, logging."""

from __future__ import annotations

import inspect
import logging
import math
import os
from contextlib import suppress
from pathlib import Path

import torch
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger
from omegaconf import DictConfig, OmegaConf

from ..data.registration import resolve_dataset, resolve_evaluated, training_images
from ..errors import ConfigError
from ..files import write_errors_of
from ..machine.matmul import set_cpu_matmul
from ..machine.threads import describe_threads, set_threads
from ..schema import check_config, misspelt_keys, require_keys
from .config_checks import check_data_nodes, check_model_classes, evaluated_splits
from .precision import inference_autocast
from .printable_logs import escape_log_messages

logger = logging.getLogger(__name__)
REQUIRED_KEYS = (
    *(f"train.{key}" for key in ("output_dir", "device", "seed", "max_iter", "epochs")),
    *("train.fast_dev_run.enabled", "dataset.name", "dataset.train", "dataset.val"),
)
LOGGED_PACKAGES = ("detectron2", "fvcore", "stageinteractor")
FAST_ITERATIONS = 3
FAST_IMAGES = 8
_handlers: list[logging.Handler] = []  # those of this process's last run


def check_settings(cfg: DictConfig) -> None:
    """Validate the settings before anything is built or written; expands paths in place.

    Raises:
        ConfigError: a key is missing or has an invalid value.
    """
    require_keys(cfg, REQUIRED_KEYS)
    check_config(cfg)


def prepare(cfg: DictConfig, eval_only: bool = False, log_file: bool = True) -> None:
    """Resolve the values that depend on data set and machine; set up logging and seed.

    Changes ``cfg`` in place: the classes of the data set, ``train.device``, ``train.max_iter`` from
    ``train.epochs``, and what ``train.fast_dev_run.enabled`` shortens. Preparing it again
    changes nothing. Of a run's files, only the log is written.

    Args:
        eval_only: nothing is trained: without the training set, if ``cfg`` records the classes, and
            without ``train.max_iter``.
        log_file: write the log to ``log.txt`` in ``train.output_dir``, too.

    Raises:
        ConfigError: a key is missing or has an invalid value; or the evaluated set has other
            classes than those that ``cfg`` records.
        DataError: the data set cannot be used.
        OutputError: the log cannot be written.
    """
    check_settings(cfg)
    fast = cfg.train.fast_dev_run.enabled
    _set_up_logging(cfg.train.output_dir if log_file else None)
    for key, like in misspelt_keys(cfg):
        logger.warning("%s is no key of this trainer and has no effect: is it %s?", key, like)
    cfg.train.device = find_device(cfg.train.device)
    precision = cfg.train.get("eval_precision", "float32")
    inference_autocast(precision, cfg.train.device, "train.eval_precision")  # refuse it now
    _set_up_cpu(cfg.train)
    limits = _num_queries(cfg), FAST_IMAGES if fast else None
    if eval_only:
        resolve_evaluated(cfg.dataset, evaluated_splits(cfg), *limits)
    else:
        resolve_dataset(cfg.dataset, *limits)
    check_data_nodes(cfg, eval_only)
    check_model_classes(cfg)
    if not eval_only and cfg.train.epochs is not None and not is_auto_batch(cfg):
        cfg.train.max_iter = iterations(cfg)
    if fast:
        cfg.train.max_iter = FAST_ITERATIONS
        cfg.train.eval_period = cfg.train.checkpointer.period = 2
        cfg.train.log_period = 1
    seed_all_rng(cfg.train.seed + comm.get_rank())


def _set_up_cpu(train: DictConfig) -> None:
    """Share the cores among the ranks of this machine; choose how a CPU multiplies float32."""
    ranks = comm.get_local_size()
    logger.info("%s", set_threads(ranks) if ranks > 1 else describe_threads())
    if train.device == "cpu":
        setting = train.get("cpu_matmul", "auto")
        logger.info("%s", set_cpu_matmul(setting, lambda choice: all(comm.all_gather(choice))))


def _set_up_logging(output_dir: str | None) -> None:
    """Log to the console and to the file of this run, no longer to that of an earlier one."""
    rank = comm.get_rank()
    file = [] if output_dir is None else [_log_file(Path(output_dir), rank)]
    loggers = [logging.getLogger(name) for name in LOGGED_PACKAGES]
    for handler in _handlers:
        for each in loggers:
            each.removeHandler(handler)
        with suppress(OSError):  # the disk of the earlier run is full
            handler.close()
    _handlers[:] = file
    set_up = inspect.unwrap(setup_logger)  # whose cache takes no account of removed handlers
    for each in loggers:
        others = list(each.handlers)  # such as those of a notebook
        set_up(distributed_rank=rank, name=each.name, abbrev_name=each.name)
        _handlers.extend(handler for handler in each.handlers if handler not in others)
        for handler in file:
            each.addHandler(handler)
        escape_log_messages(each)


def _log_file(folder: Path, rank: int) -> logging.Handler:
    """Return a handler that appends to ``log.txt``, or to the file of another rank than 0."""
    with write_errors_of(folder):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / (f"log.txt.rank{rank}" if rank else "log.txt")
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    text = "[%(asctime)s] %(name)s %(levelname)s: %(message)s"
    handler.setFormatter(logging.Formatter(text, datefmt="%m/%d %H:%M:%S"))
    return handler


def find_device(name: str, key: str = "train.device") -> str:
    """Return the device for "auto", "cpu", "cuda" or "cuda:1".

    Args:
        key: config key or option, for the message.

    Raises:
        ConfigError: this machine has no such device.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ConfigError(f"{key} {name!r}: use auto, cpu, cuda or cuda:1")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            raise ConfigError(f"{key} {name!r}: torch finds no GPU; use {key}=cpu")
        if (device.index or 0) >= count:
            raise ConfigError(f"{key} {name!r}: the last GPU is cuda:{count - 1}")
    return name


def _num_queries(cfg: DictConfig) -> int:
    """Return the number of queries of our model, detrex's or transformers'; 100 if unknown."""
    for key in ("model.queries", "model", "model.model.config"):
        number = OmegaConf.select(cfg, f"{key}.num_queries", default=None)
        if number is not None:
            return int(number)
    return 100


def iterations(cfg: DictConfig) -> int:
    """Return the number of optimizer steps in ``train.epochs`` epochs."""
    images = training_images(cfg.dataset, cfg.dataloader.train.dataset.filter_empty)
    return math.ceil(cfg.train.epochs * len(images) / images_per_step(cfg))


def images_per_step(cfg: DictConfig) -> int:
    """Return the number of images per optimizer step, over all processes."""
    return cfg.dataloader.train.total_batch_size * cfg.train.accumulate


def is_auto_batch(cfg: DictConfig) -> bool:
    """Return whether the batch size is still to be chosen (`batch_size.resolve_batch_size`)."""
    size = OmegaConf.select(cfg, "dataloader.train.total_batch_size", default=None)
    return bool(size == "auto")


def keep_previous(output_dir: str | os.PathLike[str], names: tuple[str, ...]) -> None:
    """Rename the files of an earlier run in this folder to NAME.previous.SUFFIX; not empty ones."""
    for name in names:
        path = Path(output_dir) / name
        if path.is_file() and path.stat().st_size:
            path.replace(path.with_name(f"{path.stem}.previous{path.suffix}"))
            logger.info(
                "%s: of an earlier run or evaluation, kept with '.previous' in its name", path
            )
