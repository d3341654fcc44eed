"""Train or evaluate what a config describes."""

from __future__ import annotations

import copy
import logging
import os
import shutil
from typing import Any

import torch
from detectron2.engine import create_ddp_model, hooks
from detectron2.evaluation import inference_on_dataset, print_csv_format
from detectron2.utils import comm
from omegaconf import DictConfig
from torch import nn
from torch.optim import Optimizer

from ..config import instantiate
from ..errors import ConfigError, DataError, one_line
from .checkpointing import AtomicCheckpointer, BestCheckpoint, load_all_weights, load_weights
from .ema import WeightAverage
from .setup import images_per_step, keep_previous, prepare
from .trainer import Trainer
from .writers import PredictionPictures, build_writers

logger = logging.getLogger(__name__)
Metrics = dict[str, dict[str, float]]


def evaluate(cfg: DictConfig, checkpoint: str | None = None) -> Metrics:
    """Evaluate a checkpoint.

    Args:
        cfg: as loaded and overridden.
        checkpoint: what to evaluate; by default the last checkpoint of the output folder, or if
            it has none ``train.init_checkpoint``.

    Raises:
        DataError: there is no checkpoint, or it does not hold all weights of the model.
    """
    prepare(cfg)
    model = build_trained_model(cfg, checkpoint)
    if cfg.train.get("compile"):
        compile_decoder(model)
    return run_evaluation(cfg, model)


def train(cfg: DictConfig, resume: bool = False) -> Metrics:
    """Train, evaluate from time to time and at the end, and return the last metrics.

    Args:
        cfg: as loaded and overridden.
        resume: go on from the last checkpoint of the output folder, if it has one.
    """
    prepare(cfg)
    model = build_model(cfg)
    optimizer = build_optimizer(cfg, model)
    average = WeightAverage(model, cfg.train.ema.decay) if cfg.train.ema.enabled else None
    if cfg.train.get("compile"):
        compile_decoder(model)
        if average is not None:
            compile_decoder(average.model)
    trainer = Trainer(
        _distributed(model),
        [],
        optimizer,
        amp=cfg.train.amp,
        accumulate=cfg.train.accumulate,
        clip_grad=cfg.train.clip_grad,
        log_period=cfg.train.log_period,
    )
    parts = {"trainer": trainer} | ({"ema": average.average} if average else {})
    checkpointer = AtomicCheckpointer(model, cfg.train.output_dir, **parts)
    resume = resume and checkpointer.has_checkpoint()
    if not resume and comm.is_main_process():
        keep_previous(cfg.train.output_dir, ("metrics.json", "model_best.pth"))
    results: Metrics = {}

    def run_and_keep() -> Metrics:
        results.update(run_evaluation(cfg, average.model if average else model))
        return results

    scheduler = instantiate(cfg.lr_multiplier, "lr_multiplier")
    is_main = comm.is_main_process()
    writers = build_writers(cfg) if is_main else []
    trainer.register_hooks(
        [
            hooks.IterationTimer(),
            hooks.LRScheduler(optimizer, scheduler),
            average,
            hooks.PeriodicCheckpointer(
                checkpointer,
                cfg.train.checkpointer.period,
                max_to_keep=cfg.train.checkpointer.max_to_keep,
            ),
            hooks.EvalHook(cfg.train.eval_period, run_and_keep),
            BestCheckpoint(checkpointer, cfg.train.best_metric, resume),
            PredictionPictures(cfg, cfg.train.best_metric) if is_main else None,
            hooks.PeriodicWriter(writers, period=cfg.train.log_period) if is_main else None,
        ]
    )
    start = checkpointer.resume() if resume else 0
    if not resume:
        _load_initial_weights(cfg, model)
        if average is not None:
            average.model.load_state_dict(model.state_dict())
    loader = copy.deepcopy(cfg.dataloader.train)
    loader.first_batch = start * cfg.train.accumulate
    trainer.data_loader = instantiate(loader, "dataloader.train")
    trainer.train(start, cfg.train.max_iter)
    return results


def _load_initial_weights(cfg: DictConfig, model: nn.Module) -> None:
    if cfg.train.init_checkpoint:
        load_weights(model, cfg.train.init_checkpoint)
    elif cfg.train.backbone_weights:
        if not os.path.isfile(cfg.train.backbone_weights):
            raise ConfigError(
                f"train.backbone_weights: no file {cfg.train.backbone_weights!r}; make it with "
                "tools/prepare_weights.py, or set it to null for random weights"
            )
        load_weights(model, cfg.train.backbone_weights)


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
    model = build_model(cfg)
    checkpointer = AtomicCheckpointer(model, cfg.train.output_dir)
    if not checkpoint and checkpointer.has_checkpoint():
        checkpoint = checkpointer.get_checkpoint_file()
    checkpoint = checkpoint or cfg.train.init_checkpoint
    if not checkpoint:
        raise DataError(f"{cfg.train.output_dir} has no checkpoint: set train.init_checkpoint=FILE")
    load_all_weights(model, checkpoint, ema=cfg.train.ema.enabled)
    return model


def build_optimizer(cfg: DictConfig, model: nn.Module) -> Optimizer:
    """Build the optimiser; ``train.scale_lr`` scales its learning rate with the images a step."""
    cfg = copy.deepcopy(cfg)
    if cfg.train.scale_lr.enabled:
        factor = images_per_step(cfg) / cfg.train.scale_lr.base_batch_size
        cfg.optimizer.lr *= factor
        logger.info("learning rate scaled by %.4g to %.4g", factor, cfg.optimizer.lr)
    cfg.optimizer.params.model = model
    return instantiate(cfg.optimizer, "optimizer")


def _distributed(model: nn.Module) -> nn.Module:
    if comm.get_world_size() == 1:
        return model
    device = next(model.parameters()).device
    ids = [torch.cuda.current_device()] if device.type == "cuda" else None
    return create_ddp_model(model, broadcast_buffers=False, device_ids=ids)


def run_evaluation(cfg: DictConfig, model: nn.Module) -> Metrics:
    """Evaluate a model on ``dataloader.test``; ranks other than 0 return an empty dict."""
    evaluator = instantiate(cfg.dataloader.evaluator, "dataloader.evaluator")
    loader: Any = instantiate(cfg.dataloader.test, "dataloader.test")
    try:
        metrics = inference_on_dataset(model, loader, evaluator)
    except DataError as error:
        raise DataError(one_line(error)) from None
    print_csv_format(metrics)
    return metrics or {}
