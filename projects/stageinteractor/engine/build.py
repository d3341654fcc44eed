"""Build the model and the optimizer that a config describes."""

from __future__ import annotations

import copy
import logging
import os
import shutil

import torch
from detectron2.engine import create_ddp_model
from detectron2.utils import comm
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim import Optimizer

from ..config import instantiate
from ..errors import ConfigError
from .ema import evaluates_ema
from .run_folder import find_checkpoint
from .setup import images_per_step
from .weights import load_all_weights

logger = logging.getLogger(__name__)


def build_model(cfg: DictConfig) -> nn.Module:
    """Build the model on ``train.device``, with maps as ``train.channels_last`` says."""
    return move_to_device(instantiate(cfg.model, "model"), cfg)


def move_to_device(model: nn.Module, cfg: DictConfig) -> nn.Module:
    """Move a model to ``train.device``, with maps as ``train.channels_last`` says."""
    model = model.to(cfg.train.device)
    set_memory_format(model, cfg.train.get("channels_last", "auto"))
    return model


def set_memory_format(model: nn.Module, channels_last: bool | str) -> None:
    """Lay out the weights of convolutions in place; the maps that they make follow.

    Args:
        model: on its device.
        channels_last: True for the whole model; "auto": what the model chooses, if it can (see
            `StageInteractor.choose_memory_format`). False leaves the model as it is.
    """
    if channels_last == "auto":
        choose = getattr(model, "choose_memory_format", None)
        if choose is not None:
            choose()
    elif channels_last:
        model.to(memory_format=torch.channels_last)


def compile_decoder(model: nn.Module) -> None:
    """Compile the model's decoder in place, for ``train.compile``.

    Raises:
        ConfigError: this model cannot be compiled, or not on this machine.
    """
    compile_it = getattr(model, "compile_decoder", None)
    if compile_it is None:
        raise ConfigError(f"train.compile: a {type(model).__name__} has no decoder to compile")
    on_cpu = next(model.parameters()).device.type == "cpu"
    if on_cpu and not shutil.which(os.environ.get("CXX", "g++")):
        raise ConfigError("train.compile: on a CPU, torch needs a C++ compiler, such as g++")
    compile_it()


def build_trained_model(cfg: DictConfig, checkpoint: str | None = None) -> nn.Module:
    """Build the model and load a checkpoint, as `evaluate` does.

    Raises:
        DataError: there is no checkpoint, or it does not hold all weights of the model.
    """
    checkpoint = checkpoint or find_checkpoint(cfg, prefer_best=False)
    model = build_model(cfg)
    load_all_weights(model, checkpoint, ema=evaluates_ema(cfg))
    return model


def build_optimizer(cfg: DictConfig, model: nn.Module) -> Optimizer:
    """Build the optimizer; ``train.scale_lr`` scales its learning rate with the batch size."""
    cfg = copy.deepcopy(cfg)
    if cfg.train.scale_lr.enabled:
        factor = images_per_step(cfg) / cfg.train.scale_lr.base_batch_size
        cfg.optimizer.lr *= factor
        logger.info("learning rate scaled by %.4g to %.4g", factor, cfg.optimizer.lr)
    if OmegaConf.select(cfg, "optimizer.params") is None:
        raise ConfigError("optimizer.params is null: it must build the parameter groups")
    cfg.optimizer.params.model = model
    optimizer = instantiate(cfg.optimizer, "optimizer")
    for group in optimizer.param_groups:  # weights_only cannot load
        if "betas" in group:  # OmegaConf's list, which older torch keeps
            group["betas"] = tuple(group["betas"])
    return optimizer


def wrap_ddp(model: nn.Module, broadcast_buffers: bool = False, **options: bool) -> nn.Module:
    """Wrap a model in DistributedDataParallel if there are several processes."""
    if comm.get_world_size() == 1:
        return model
    device = next(model.parameters()).device
    ids = [torch.cuda.current_device()] if device.type == "cuda" else None
    return create_ddp_model(model, broadcast_buffers=broadcast_buffers, device_ids=ids, **options)
