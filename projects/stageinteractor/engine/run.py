"""Build and evaluate what a config describes."""

from __future__ import annotations

import copy
import logging
import os
import shutil
from typing import Any

import torch
import torch.distributed as dist
from detectron2.engine import create_ddp_model
from detectron2.evaluation import inference_on_dataset, print_csv_format
from detectron2.utils import comm
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim import Optimizer

from ..config import instantiate
from ..errors import ConfigError, StageInteractorError, one_line
from .last_evaluation import Metrics
from .run_config import save_run_config_if_none
from .run_folder import find_checkpoint
from .setup import check_settings, images_per_step, prepare
from .stopping import StopRequest
from .weights import load_all_weights

logger = logging.getLogger(__name__)


def evaluate(cfg: DictConfig, checkpoint: str | None = None) -> Metrics:
    """Evaluate a checkpoint; a run's config, checkpoints and metrics stay as they are.

    Args:
        cfg: as loaded and overridden.
        checkpoint: what to evaluate; by default the last checkpoint of the output folder, or if
            it has none ``train.init_checkpoint``.

    Raises:
        DataError: there is no checkpoint, or it does not hold all weights of the model.
    """
    check_settings(cfg)
    checkpoint = checkpoint or find_checkpoint(cfg, prefer_best=False)  # before a folder is made
    prepare(cfg)
    model = build_trained_model(cfg, checkpoint)
    if comm.is_main_process():
        save_run_config_if_none(cfg)
    if cfg.train.get("compile"):
        compile_decoder(model)
    return run_evaluation(cfg, model)


def build_model(cfg: DictConfig) -> nn.Module:
    """Build the model on its device, its convolutions in the memory format of the config."""
    return place(instantiate(cfg.model, "model"), cfg)


def place(model: nn.Module, cfg: DictConfig) -> nn.Module:
    """Move a model to ``train.device``, in the memory format of ``train.channels_last``."""
    model = model.to(cfg.train.device)
    if cfg.train.get("channels_last"):
        model = model.to(memory_format=torch.channels_last)
    return model


def compile_decoder(model: nn.Module) -> None:
    """Let torch compile the model's decoder, in place (``train.compile``).

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
    averaged = OmegaConf.select(cfg, "train.ema.enabled", default=False)
    load_all_weights(model, checkpoint, ema=bool(averaged))
    return model


def build_optimizer(cfg: DictConfig, model: nn.Module) -> Optimizer:
    """Build the optimiser; ``train.scale_lr`` scales its learning rate with the images a step."""
    cfg = copy.deepcopy(cfg)
    if cfg.train.scale_lr.enabled:
        factor = images_per_step(cfg) / cfg.train.scale_lr.base_batch_size
        cfg.optimizer.lr *= factor
        logger.info("learning rate scaled by %.4g to %.4g", factor, cfg.optimizer.lr)
    if OmegaConf.select(cfg, "optimizer.params") is None:
        raise ConfigError("config key 'optimizer.params' is null: it has to group the parameters")
    cfg.optimizer.params.model = model
    optimizer = instantiate(cfg.optimizer, "optimizer")
    for group in optimizer.param_groups:  # older torch keeps OmegaConf's list, which no checkpoint
        if "betas" in group:  # that is read with weights_only may hold
            group["betas"] = tuple(group["betas"])
    return optimizer


def distributed(model: nn.Module) -> nn.Module:
    """Wrap a model so that several processes average its gradients."""
    if comm.get_world_size() == 1:
        return model
    device = next(model.parameters()).device
    ids = [torch.cuda.current_device()] if device.type == "cuda" else None
    return create_ddp_model(model, broadcast_buffers=False, device_ids=ids)


def run_evaluation(
    cfg: DictConfig, model: nn.Module, request: StopRequest | None = None
) -> Metrics:
    """Evaluate a model on ``dataloader.test``; ranks other than 0 return an empty dict.

    Args:
        cfg: as loaded and overridden.
        model: in its present state.
        request: leave off when it asks for a stop.

    Raises:
        Stopped: it did.
        DataError: an image cannot be read.
    """
    if comm.get_world_size() > 1:  # statistics of batches differ; those of rank 0 are saved
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)
    evaluator = instantiate(cfg.dataloader.evaluator, "dataloader.evaluator")
    loader: Any = instantiate(cfg.dataloader.test, "dataloader.test")
    if request is not None:
        loader = request.watch(loader)
    try:
        metrics = inference_on_dataset(model, loader, evaluator)
    except StageInteractorError as error:  # from another process, with a traceback
        raise type(error)(one_line(error)) from None
    print_csv_format(metrics)
    return metrics or {}
