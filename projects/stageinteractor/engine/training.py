"""Train what a config describes, from the beginning or from the last checkpoint."""

from __future__ import annotations

import copy
import logging
import os
from pathlib import Path
from typing import Any

from detectron2.engine import HookBase, hooks
from detectron2.utils import comm
from omegaconf import DictConfig, OmegaConf
from torch import nn

from ..config import instantiate
from ..data.loaders import first_samples
from ..data.registration import training_images
from ..errors import ConfigError, DataError
from ..files import atomic_path
from ..packages import require
from ..schema import require_keys
from ..urls import is_url
from .backbone_weights import load_backbone_weights
from .batch_size import resolve_batch_size
from .best_metric import BestCheckpoint, check_best_metric, report_missing
from .build import build_model, build_optimizer, compile_decoder, wrap_ddp
from .checkpointing import AtomicCheckpointer, PeriodicCheckpoint
from .early_stopping import early_stopping
from .ema import ModelEMA, check_ema_device
from .evaluation import LAST_EVALUATION, LastEvaluation, Metrics, run_evaluation
from .failure import lost_connection
from .folder_lock import exclusive_training
from .frozen_stages import freeze_stages
from .hooks import DrawDetections, DrawSamples, PeriodicWriter, PredictionImages
from .non_finite_step import NonFiniteStep, savable_batch
from .precision import precision_name
from .resuming import describe_schedule_change
from .run_config import (
    Changes,
    changes_since,
    describe_changes,
    refuse_fixed_settings,
    save_run_config,
    warn_of_other_classes,
)
from .run_folder import BEST, LAST
from .setup import check_settings, keep_previous, prepare
from .stopping import Stopped, StopRequest
from .trainer import Trainer
from .weights import load_weights
from .writers import build_writers

logger = logging.getLogger(__name__)
REQUIRED_KEYS = tuple(
    f"train.{key}"
    for key in (
        *("init_checkpoint", "backbone_weights", "amp.enabled", "accumulate"),
        *("eval_period", "checkpointer.period", "checkpointer.max_to_keep", "log_period"),
        *("clip_grad.enabled", "model_ema.enabled", "wandb.enabled"),
        *("writers", "best_metric", "scale_lr.enabled"),
    )
)
REQUIRED_IF_SET = {
    "train.amp.enabled": "train.amp.dtype",
    "train.clip_grad.enabled": "train.clip_grad.params",
    "train.model_ema.enabled": "train.model_ema.decay",
    "train.wandb.enabled": "train.wandb.params",
    "train.scale_lr.enabled": "train.scale_lr.base_batch_size",
}
# settings that decide what an AP means
MEASURED_BY = (
    *("dataset.val", "dataloader.evaluator", "dataloader.test.mapper"),
    *("train.tta", "train.eval_precision"),
)
SAMPLES, SAMPLES_FILE = 16, "training_samples.jpg"
EARLIER_RUN_FILES = (LAST, "metrics.json", f"{BEST}.pth", LAST_EVALUATION)


def train(
    cfg: DictConfig,
    resume: bool = False,
    draw: DrawDetections | None = None,
    draw_samples: DrawSamples | None = None,
) -> Metrics:
    """Train, evaluate every ``train.eval_period`` iterations and at the end; return the metrics.

    Args:
        resume: continue from the last checkpoint of the output folder, if it has one.
        draw: draws the image of predictions that the writers get after each evaluation; None: no
            image.
        draw_samples: draws the first training images into ``training_samples.jpg``, where
            ``dataloader.train.augment`` is set; None: none.

    Raises:
        OutputError: another training runs in the output folder, or it cannot be written to.
        SystemExit: a signal stopped the training; a checkpoint has been written.
        ConfigError: a key is missing or has an invalid value.
        DataError: the training set has no image to train on.
    """
    check_settings(cfg)
    require_keys(cfg, REQUIRED_KEYS)
    require_keys(
        cfg, [key for switch, key in REQUIRED_IF_SET.items() if OmegaConf.select(cfg, switch)]
    )
    with exclusive_training(cfg.train.output_dir):
        prepare(cfg)
        filter_empty = OmegaConf.select(cfg, "dataloader.train.dataset.filter_empty")
        training_images(cfg.dataset, bool(filter_empty))
        resolve_batch_size(cfg, resume)
        return Training(cfg, draw, draw_samples).run(resume)


class Training:
    """The parts of one training, built from its config."""

    def __init__(
        self,
        cfg: DictConfig,
        draw: DrawDetections | None = None,
        draw_samples: DrawSamples | None = None,
    ) -> None:
        self.cfg = cfg
        self.draw = draw
        self.draw_samples = draw_samples
        check_best_metric(cfg)
        check_ema_device(cfg.train)
        self.model = build_model(cfg)
        frozen = freeze_stages(self.model, cfg.train.get("frozen_stages", 0))
        optimizer = build_optimizer(cfg, self.model)
        self.ema: ModelEMA | None = None
        if cfg.train.model_ema.enabled:
            self.ema = ModelEMA(self.model, cfg.train.model_ema.decay)
        if cfg.train.get("compile"):
            for model in {self.model, self.evaluated}:
                compile_decoder(model)
        precision = precision_name(cfg.train)
        logger.info("mixed precision: %s", precision)
        self.trainer = Trainer(
            wrap_ddp(self.model, **cfg.train.get("ddp", {})),
            [],
            optimizer,
            amp=precision,
            accumulate=cfg.train.accumulate,
            clip_grad=cfg.train.clip_grad.params if cfg.train.clip_grad.enabled else None,
            seed=cfg.train.seed,
            save_non_finite_step=self._save_non_finite_step,
        )
        parts = {"ema": self.ema.average} if self.ema else {}
        folder = cfg.train.output_dir
        self.checkpointer = AtomicCheckpointer(self.model, folder, trainer=self.trainer, **parts)
        self.request = StopRequest()
        self.checkpoints = PeriodicCheckpoint(
            self.checkpointer, **cfg.train.checkpointer, request=self.request
        )
        scheduler = hooks.LRScheduler(optimizer, instantiate(cfg.lr_multiplier, "lr_multiplier"))
        before = [hooks.IterationTimer(), scheduler, self.ema, frozen, early_stopping(cfg)]
        self.trainer.register_hooks([*before, self.checkpoints])

    @property
    def evaluated(self) -> nn.Module:
        """The model that is evaluated: the EMA, if there is one."""
        return self.ema.model if self.ema else self.model

    def run(self, resume: bool) -> Metrics:
        """Train from the beginning or from the last checkpoint, and return the last metrics."""
        cfg, max_iter = self.cfg, self.cfg.train.max_iter
        resume = resume and self._has_checkpoint()
        changes = changes_since(cfg) if resume else {}
        start = self._resume(changes) if resume else self._start()
        loader = copy.deepcopy(cfg.dataloader.train)
        loader.first_batch = start * cfg.train.accumulate
        batches = instantiate(loader, "dataloader.train")
        self.trainer.data_loader = self.request.interruptible(batches)
        if cfg.train.wandb.enabled:
            require("wandb", "train.wandb.enabled")  # before files of an earlier run are renamed
        if comm.is_main_process():
            keep_previous(cfg.train.output_dir, _outdated_files(resume, changes))
            if not resume:
                self._draw_samples(batches)
        same_weights = start if start == max_iter else start - 1
        last = LastEvaluation(cfg.train.output_dir, same_weights if resume else None)
        self.trainer.register_hooks(self._hooks_after_checkpoint(last, start, resume))
        if comm.is_main_process():
            save_run_config(cfg)  # after all checks
        with self.request.listening():
            try:
                self.trainer.train(start, max_iter, self.checkpoints if resume else None)
                if self.trainer.stop_early:
                    self.checkpoints.save_last(self.trainer.iter - 1)
            except (Stopped, RuntimeError) as error:
                is_stop = isinstance(error, Stopped) or lost_connection(error)
                if not self.request.signal or not is_stop:
                    raise
                self.checkpoints.stop(self.request.signal, wait=False)
        return last.results

    def _draw_samples(self, batches: Any) -> None:
        """Draw the first training images, where augmentations are chosen by name."""
        loader, names = self.cfg.dataloader.train, self.cfg.dataset.class_names
        if self.draw_samples is None or loader.get("augment") is None:
            return
        records = first_samples(batches, SAMPLES)
        if not records:
            return
        path = Path(self.cfg.train.output_dir) / SAMPLES_FILE
        sheet = self.draw_samples(records, names, loader.mapper.get("image_format", "RGB"))
        with atomic_path(path) as temporary:
            sheet.save(temporary)
        logger.info("the first %d training images: %s", len(records), path)

    def _has_checkpoint(self) -> bool:
        if self.checkpointer.has_checkpoint():
            return True
        folder = self.cfg.train.output_dir
        logger.warning(
            "--resume: %s has no last_checkpoint; training starts at iteration 0", folder
        )
        return False

    def _resume(self, changes: Changes) -> int:
        refuse_fixed_settings(changes)
        start = self.checkpointer.resume(describe_changes(changes))
        max_iter = self.cfg.train.max_iter
        if start > max_iter:
            raise ConfigError(
                f"train.max_iter is {max_iter}, but {self.checkpointer.get_checkpoint_file()} has "
                f"finished {start} iterations; raise it, or evaluate with --eval-only"
            )
        if "train.max_iter" in changes:
            multiplier = instantiate(self.cfg.lr_multiplier, "lr_multiplier")
            earlier = changes["train.max_iter"][0]
            logger.warning("%s", describe_schedule_change(earlier, max_iter, start, multiplier))
        return start

    def _start(self) -> int:
        load_initial_weights(self.cfg, self.model)
        if self.ema is not None:
            self.ema.model.load_state_dict(self.model.state_dict())
        return 0

    def _hooks_after_checkpoint(
        self, last: LastEvaluation, start: int, resume: bool
    ) -> list[HookBase]:
        """Return the hooks that follow the checkpoint hook.

        A resumed training runs them once before its first iteration.
        """
        cfg, metric = self.cfg, self.cfg.train.best_metric

        def evaluate() -> Metrics:
            try:
                results = last.get(
                    self.trainer.iter, lambda: run_evaluation(cfg, self.evaluated, self.request)
                )
                report_missing(metric, results)
                return results
            except (Stopped, RuntimeError):  # RuntimeError: another process stopped first
                if not self.request.signal:
                    raise
                self.checkpoints.stop(self.request.signal, wait=False)

        after: list[HookBase] = [
            hooks.EvalHook(cfg.train.eval_period, evaluate),
            BestCheckpoint(self.checkpointer, metric, resume),
        ]
        if comm.is_main_process():
            if self.draw is not None:
                after.append(PredictionImages(cfg, metric, self.draw))
            writers = build_writers(cfg, start - 1 if resume else None)
            period, folder = cfg.train.log_period, cfg.train.output_dir
            after.append(PeriodicWriter(writers, period, folder, metric))
        return after

    def _save_non_finite_step(self, step: NonFiniteStep) -> Path:
        rank, train = comm.get_rank(), self.cfg.train
        return self.checkpointer.write(
            f"non_finite_{step.iteration:07d}_rank{rank}",
            iteration=step.iteration,
            micro=step.micro,
            batch=savable_batch(step.batch),
            rank=rank,
            seed=train.seed,
            amp=precision_name(train),
        )


def _outdated_files(resume: bool, changes: Changes) -> tuple[str, ...]:
    """Return the names of those files of an earlier run that hold nothing of this one."""
    if not resume:
        return EARLIER_RUN_FILES
    if any(key.startswith(MEASURED_BY) for key in changes):
        return LAST_EVALUATION, f"{BEST}.pth"
    return (LAST_EVALUATION,) if changes else ()


def load_initial_weights(cfg: DictConfig, model: nn.Module) -> None:
    """Load ``train.init_checkpoint`` or else ``train.backbone_weights`` into the model.

    Training goes on from the latest weights of a checkpoint; a frozen detector gets the averaged
    ones, if there are any, with which it was evaluated.
    A checkpoint whose run had as many classes, but of other names, is a warning.

    Raises:
        ConfigError: there is no file of this name.
        DataError: the file cannot be read or does not fit the model; or it lacks weights of a part
            that is frozen, and so would stay untrained.
    """
    if cfg.train.init_checkpoint:
        warn_of_other_classes(cfg, cfg.train.init_checkpoint)
        frozen = hasattr(model, "trained_parts")
        missing = load_weights(model, cfg.train.init_checkpoint, ema=frozen)
        _refuse_untrained(model, missing, cfg.train.init_checkpoint)
    elif cfg.train.backbone_weights:
        weights = cfg.train.backbone_weights
        if not is_url(weights) and not os.path.isfile(weights):
            raise ConfigError(
                f"train.backbone_weights: no file {weights!r}; make it with "
                "stageinteractor weights, or set it to null for random weights"
            )
        load_backbone_weights(model, weights)


def _refuse_untrained(model: nn.Module, missing: list[str], path: str) -> None:
    """Refuse a checkpoint that lacks tensors of a frozen detector (`modeling/frozen.py`)."""
    trained = getattr(model, "trained_parts", None)
    if trained is None:
        return
    untrained = [name for name in missing if name.split(".", 1)[0] not in trained]
    if untrained:
        raise DataError(
            f"train.init_checkpoint={path}: {len(untrained)} tensors of the frozen detector are "
            f"missing or have another shape, such as {untrained[0]}: give the checkpoint of a "
            "detector that was trained with these settings"
        )
