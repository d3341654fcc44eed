"""``dataloader.train.total_batch_size=auto``: the largest batch that fits into memory, by trial.

Batches of 1, 2, 4, ... copies of the largest of the first training images pass through a training
step of a model that is then dropped. The next size is tried only if the memory that it needs,
extrapolated from the last two, is free: an attempt that fails would end the process on a CPU.
"""

from __future__ import annotations

import copy
import gc
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from omegaconf import DictConfig, OmegaConf

from ..config import instantiate
from ..data.loaders import first_samples
from ..data.registration import training_images
from ..errors import ConfigError
from ..machine.free_memory import free_bytes, peak_bytes, resident_bytes
from ..randomness import random_by_key
from ..regular_files import GIB
from .build import build_model, build_optimizer
from .precision import PRECISIONS, precision_name
from .run_config import saved_value
from .setup import is_auto_batch, iterations

logger = logging.getLogger(__name__)
KEY = "dataloader.train.total_batch_size"
MAX_IMAGES = 64  # of a batch that is tried
IMAGES = 16  # among which the largest is chosen
SHARE = {"cpu": 0.7, "cuda": 0.9}  # of the free memory, for the batch


class Fit(NamedTuple):
    """The largest batch that fits.

    Args:
        peak: bytes that it takes.
        next_peak: bytes that twice as many images would take; 0 if they were not considered.
    """

    images: int
    peak: int
    next_peak: int = 0


def resolve_batch_size(cfg: DictConfig, resume: bool) -> None:
    """Replace "auto" by the number of images, and scale the learning rate by ``train.scale_lr``.

    A resumed training keeps the number of its ``config.yaml``. One line is logged.

    Args:
        cfg: prepared; changed in place.

    Raises:
        ConfigError: there are several processes, or not even one image fits.
    """
    if not is_auto_batch(cfg):
        return
    if comm.get_world_size() > 1:
        raise ConfigError(
            f"{KEY}=auto is for one process: find the number with one, and set it times the number "
            "of processes"
        )
    saved = saved_value(cfg, KEY) if resume else None
    base = cfg.train.scale_lr.base_batch_size
    if isinstance(saved, int):
        images, reason = saved, "as in the run that is resumed"
    else:
        fit, free = _largest_batch(cfg)
        images = fit.images
        reason = f"{fit.peak / GIB:.3g} of {free / GIB:.3g} GiB free memory"
        if fit.next_peak:
            reason += f", {2 * images} would take {fit.next_peak / GIB:.3g}"
    cfg.dataloader.train.total_batch_size = images
    cfg.train.scale_lr.enabled = True
    if cfg.train.epochs is not None and not cfg.train.fast_dev_run.enabled:
        cfg.train.max_iter = iterations(cfg)
    factor = images * cfg.train.accumulate / base
    logger.info(
        "%s: auto -> %d images (%s); optimizer.lr is scaled by %.4g (train.scale_lr.base_batch_size"
        " is %d)",
        *(KEY, images, reason, factor, base),
    )


def largest_fit(peak_of: Callable[[int], int], free: float, max_images: int) -> Fit:
    """Return the largest power of two that fits.

    Args:
        peak_of: bytes that a batch of so many images takes.
        free: bytes that may be taken.

    Raises:
        ConfigError: one image takes more.
    """
    best = Fit(1, peak_of(1))
    if best.peak > free:
        raise ConfigError(
            f"{KEY}=auto: one image takes {best.peak / GIB:.3g} GiB, more than the "
            f"{free / GIB:.3g} GiB that may be used: use smaller images, or train.amp"
        )
    before = 0
    while 2 * best.images <= max_images:
        # one image more costs as much as before; the first also has what does not grow
        next_peak = best.peak + (2 * (best.peak - before) if before else best.peak)
        if next_peak > free:
            return best._replace(next_peak=next_peak)
        peak = peak_of(2 * best.images)
        if peak > free:
            return best._replace(next_peak=peak)
        before, best = best.peak, Fit(2 * best.images, peak)
    return best


def _largest_batch(cfg: DictConfig) -> tuple[Fit, int]:
    """Return the largest batch of the config's model, and the free bytes before the trial."""
    device = torch.device(cfg.train.device)
    with random_by_key(cfg.train.seed):
        fit, free = _try_sizes(cfg, device)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return fit, free


def _try_sizes(cfg: DictConfig, device: torch.device) -> tuple[Fit, int]:
    image = _largest_image(cfg)
    cfg = copy.deepcopy(cfg)
    cfg.train.scale_lr.enabled = False
    model = build_model(cfg).train()
    optimizer = build_optimizer(cfg, model)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    precision = PRECISIONS[precision_name(cfg.train)]
    free, start = free_bytes(device), resident_bytes(device)

    def step(images: int) -> None:
        mixed = precision != torch.float32
        with EventStorage(1), torch.autocast(device.type, precision, enabled=mixed):
            losses = model([copy.copy(image) for _ in range(images)])
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()

    def peak_of(images: int) -> int:
        try:
            return peak_bytes(lambda: step(images), device) - start
        except torch.OutOfMemoryError:
            return free + 1

    most = min(MAX_IMAGES, len(_images(cfg)))
    return largest_fit(peak_of, SHARE[device.type] * free, most), free


def _images(cfg: DictConfig) -> list[dict[str, Any]]:
    filter_empty = OmegaConf.select(cfg, "dataloader.train.dataset.filter_empty")
    return training_images(cfg.dataset, bool(filter_empty))


def _largest_image(cfg: DictConfig) -> dict[str, Any]:
    """Return the mapped record with the most pixels among the first ones of the training."""
    loader = copy.deepcopy(cfg.dataloader.train)
    loader.total_batch_size, loader.num_workers = 1, 0
    records = first_samples(instantiate(loader, "dataloader.train"), IMAGES)
    if not records:
        raise ConfigError(f"{KEY}=auto is for this project's loader: set a number")
    return max(records, key=lambda record: record["image"].numel())
