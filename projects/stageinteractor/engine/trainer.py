"""The training loop: mixed precision, gradient accumulation, clipping, a stop on NaN and inf.

Schedule, evaluation, checkpoints and logging are detectron2 hooks. A resumed training begins with
the hooks after the one that wrote the checkpoint, and then equals the uninterrupted training.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from detectron2.engine import HookBase, SimpleTrainer, TrainerBase
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from ..criterion.distributed import StepCounts
from ..errors import (
    ConfigError,
    DataError,
    NonFiniteLossError,
    OutputError,
    StageInteractorError,
    one_line,
)
from ..randomness import seed_by_key
from .gpu_calls import refuse_gpu_call
from .metrics import MetricStorage
from .non_finite_step import HAS_STOPPED, Batch, FiniteCheck, NonFiniteStep
from .precision import PRECISIONS
from .resuming import describe_groups, restore_optimizer

logger = logging.getLogger(__name__)
_nothing = contextlib.nullcontext


class Trainer(SimpleTrainer):
    """Train a model that returns a dict of losses.

    Args:
        model: in training mode; may be wrapped in DistributedDataParallel.
        data_loader: endless batches.
        optimizer: steps once every ``accumulate`` batches.
        amp: "off", "fp16" (with gradient scaling) or "bf16".
        accumulate: batches whose gradients are averaged for one step; the losses of ours are
            divided by the counts of all of them, as if they were one batch.
        clip_grad: {"max_norm", "norm_type"} over all parameters, or None.
        seed: of the model's random numbers, such as dropout; every step is seeded by its number.
        save_non_finite_step: writes the batch of a non-finite step to a file; returns its path.

    Raises:
        ConfigError: no such ``amp``, or ``accumulate`` is below 1.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[Batch],
        optimizer: Optimizer,
        *,
        amp: str = "off",
        accumulate: int = 1,
        clip_grad: Mapping[str, float] | None = None,
        seed: int = 0,
        save_non_finite_step: Callable[[NonFiniteStep], Path] | None = None,
    ) -> None:
        if amp not in PRECISIONS:
            raise ConfigError(f"train.amp.dtype is {amp!r}: choose one of {', '.join(PRECISIONS)}")
        if accumulate < 1:
            raise ConfigError(f"train.accumulate is {accumulate}: it must be at least 1")
        super().__init__(model, data_loader, optimizer)
        self.device = next(model.parameters()).device
        self.precision = PRECISIONS[amp]
        self.accumulate = accumulate
        self.counts_first = accumulate > 1
        self.clip_grad = clip_grad
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=amp == "fp16")
        self.seed = seed
        self.save_non_finite_step = save_non_finite_step
        self.gradient_check: tuple[FiniteCheck, NonFiniteStep] | None = None
        self.storage = MetricStorage()
        self.stop_early = False  # set by a hook before a step: that step is not run
        # the iteration that weights, statistics and optimizer stand at; None while they change
        self.finished: int | None = None

    def train(self, start_iter: int, max_iter: int, finish_after: HookBase | None = None) -> None:
        """Run iterations ``start_iter`` to ``max_iter`` - 1 and the hooks around them.

        Args:
            max_iter: number of iterations of the whole training.
            finish_after: the checkpoint hook; hooks registered after it run once for iteration
                ``start_iter - 1`` on resume.

        Raises:
            NonFiniteLossError: a loss or the gradient norm is NaN or infinite.
        """
        logger.info("training from iteration %d to %d", start_iter, max_iter)
        self.iter = self.start_iter = start_iter
        self.finished = start_iter - 1
        self.max_iter = max_iter
        with self.storage:
            self.storage.iter = start_iter
            try:
                self.before_train()
                if finish_after is not None:
                    self._finish_step(start_iter - 1, finish_after)
                for self.iter in range(start_iter, max_iter):
                    self.before_step()
                    if self.stop_early:
                        break
                    self.run_step()
                    self.after_step()
                else:
                    self.iter = max_iter
            except BaseException:
                self.max_iter = sys.maxsize  # no final evaluation
                with contextlib.suppress(OutputError):  # it would hide the first error
                    self.after_train()
                raise
            finally:
                self._data_loader_iter_obj = None  # ends the data-loading processes
            self.after_train()

    def _finish_step(self, iteration: int, after: HookBase) -> None:
        self.iter = self.storage.iter = iteration
        for hook in self._hooks[self._hooks.index(after) + 1 :]:
            hook.after_step()
        self.iter = self.storage.iter = iteration + 1

    def run_step(self) -> None:
        """Update the parameters once."""
        self._check_gradients()
        self.optimizer.zero_grad(set_to_none=True)
        checks = []
        start = time.perf_counter()
        # all batches first: a stop while waiting for data leaves batch-norm statistics unchanged
        batches = [self._next_batch() for _ in range(self.accumulate)]
        self.finished = None  # until the checkpoint hook
        data_time = time.perf_counter() - start
        counts = self._count(batches) if self.counts_first else None
        for micro_index, batch in enumerate(batches):
            is_last = micro_index == self.accumulate - 1
            with self._gradient_sync(is_last), counts.using() if counts else _nothing():
                losses = self._losses(self.model, batch, micro_index)
                checks.append(FiniteCheck(losses))
                total = torch.stack(list(losses.values())).sum() / self.accumulate
                self.scaler.scale(total).backward()
        for micro_index, check in enumerate(checks):
            if terms := check.non_finite():
                self._stop(
                    NonFiniteStep(self.iter, micro_index, batches[micro_index]), ", ".join(terms)
                )
        self._update(batches)
        totals: dict[str, Tensor] = {}
        for check in checks:  # the values are on the CPU by now
            for name, value in zip(check.names, check.values, strict=True):
                totals[name] = totals.get(name, 0) + value / self.accumulate
        self._write_metrics(totals, data_time)

    def _next_batch(self) -> Batch:
        try:
            return next(self._data_loader_iter)
        except StageInteractorError as error:  # from a data-loading process, with its traceback
            raise type(error)(one_line(error)) from None

    def _count(self, batches: list[Batch]) -> StepCounts | None:
        """Return the counts of all batches, by a forward pass of each that changes nothing.

        None if the losses of the model are not divided by such counts, as those of others.
        """
        model = self.model.module if isinstance(self.model, DistributedDataParallel) else self.model
        before = [buffer.clone() for buffer in model.buffers()]
        counts = StepCounts()
        with torch.no_grad(), EventStorage(1):  # statistics are written by the pass that trains
            for micro_index, batch in enumerate(batches):
                with counts.counting():
                    self._losses(model, batch, micro_index)
                self.counts_first = bool(counts.totals)
                if not self.counts_first:
                    logger.warning(
                        "train.accumulate: the losses of a %s are averaged over the batches of a "
                        "step, each normalised by itself",
                        type(model).__name__,
                    )
                    break
            for buffer, value in zip(model.buffers(), before, strict=True):
                buffer.copy_(value)
        return counts if self.counts_first else None

    def _losses(self, model: nn.Module, batch: Batch, micro_index: int) -> dict[str, Tensor]:
        seed_by_key(self.seed, self.iter, micro_index, comm.get_rank())
        try:
            mixed = self.precision != torch.float32
            with torch.autocast(self.device.type, self.precision, enabled=mixed):
                return model(batch)
        except FloatingPointError as error:
            self._stop(NonFiniteStep(self.iter, micro_index, batch), str(error), error)
        except (AssertionError, RuntimeError) as error:
            refuse_gpu_call(error)
            raise

    def _stop(self, step: NonFiniteStep, reason: str, cause: Exception | None = None) -> NoReturn:
        ids = ", ".join(str(item.get("image_id", "?")) for item in step.batch)
        saved = ""
        if self.save_non_finite_step is not None:
            try:
                path = self.save_non_finite_step(step)
                saved = f" {path} holds batch and weights for stageinteractor replay."
            except OutputError as error:
                saved = f" Batch and weights could not be saved: {error}."
        raise NonFiniteLossError(
            f"iteration {step.iteration}, image ids {ids}: {reason}; {HAS_STOPPED}"
            f"{saved} Lower optimizer.lr, lengthen the warm-up, "
            "or set train.amp.dtype=bf16 or train.amp.enabled=false"
        ) from cause

    def _gradient_sync(self, is_last: bool) -> contextlib.AbstractContextManager[None]:
        """Average gradients over the ranks for the last of the accumulated batches only."""
        if isinstance(self.model, DistributedDataParallel) and not is_last:
            return self.model.no_sync()
        return _nothing()

    def _update(self, batches: list[Batch]) -> None:
        self.scaler.unscale_(self.optimizer)
        if self.clip_grad is not None:
            norm = nn.utils.clip_grad_norm_(
                self.model.parameters(), self.clip_grad["max_norm"], self.clip_grad["norm_type"]
            )
            if not self.scaler.is_enabled():  # the scaler skips such a step itself
                images = [image for batch in batches for image in batch]
                step = NonFiniteStep(self.iter, len(batches) - 1, images)
                self.gradient_check = FiniteCheck({"norm of the gradients": norm}), step
                if not norm.is_cuda:
                    self._check_gradients()
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _check_gradients(self) -> None:
        """Stop if the gradient norm was not finite; on a GPU one step later, without a wait."""
        if self.gradient_check is None:
            return
        check, step = self.gradient_check
        self.gradient_check = None
        if terms := check.non_finite():
            self._stop(step, ", ".join(terms))

    def state_dict(self) -> dict[str, Any]:
        """Return the state of iteration, optimizer, gradient scaler, metrics and hooks."""
        own = {
            "scaler": self.scaler.state_dict(),
            "metrics": self.storage.state_dict(),
            "groups": describe_groups(self.optimizer, self.model),
        }
        return super().state_dict() | own

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a saved state, but keep the hyper-parameters that the optimizer was built with.

        Raises:
            DataError: the state belongs to another precision, optimizer or parameter grouping.
        """
        if self.scaler.is_enabled() and not state_dict["scaler"]:
            raise DataError("train.amp.dtype is fp16, but the checkpoint has no gradient scaler")
        TrainerBase.load_state_dict(self, state_dict)
        restore_optimizer(self.optimizer, state_dict["optimizer"], state_dict["groups"], self.model)
        self.scaler.load_state_dict(state_dict["scaler"])
        self.storage.load_state_dict(state_dict.get("metrics", {}))
