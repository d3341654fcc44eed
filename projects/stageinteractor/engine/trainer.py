"""The training step and its loop: mixed precision, accumulation, clipping, a stop on bad losses.

Everything else (schedule, evaluation, checkpoints, logging) is a detectron2 hook.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from detectron2.engine import SimpleTrainer
from detectron2.utils.events import EventStorage
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from ..errors import ConfigError, DataError, NonFiniteLossError, one_line

logger = logging.getLogger(__name__)
PRECISIONS = {"off": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
Batch = list[dict[str, Any]]


class Trainer(SimpleTrainer):
    """Train a model that returns a dict of losses.

    Args:
        model: in training mode; may be wrapped for distributed training.
        data_loader: endless batches.
        optimizer: steps once in ``accumulate`` batches.
        amp: "off", "fp16" (with gradient scaling) or "bf16".
        accumulate: batches whose gradients are averaged for one step.
        clip_grad: {"max_norm", "norm_type"} over all parameters, or None.
        log_period: iterations between two gatherings of the losses.
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
        log_period: int = 20,
    ) -> None:
        if amp not in PRECISIONS:
            raise ConfigError(f"train.amp is {amp!r}: choose one of {', '.join(PRECISIONS)}")
        if accumulate < 1:
            raise ConfigError(f"train.accumulate is {accumulate}: it must be at least 1")
        super().__init__(model, data_loader, optimizer, gather_metric_period=log_period)
        self.device = next(model.parameters()).device
        self.precision = PRECISIONS[amp]
        self.accumulate = accumulate
        self.clip_grad = clip_grad
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=amp == "fp16")

    def train(self, start_iter: int, max_iter: int) -> None:
        """Run iterations ``start_iter`` to ``max_iter`` - 1 and the hooks around them."""
        logger.info("training from iteration %d to %d", start_iter, max_iter)
        self.iter = self.start_iter = start_iter
        self.max_iter = max_iter
        with EventStorage(start_iter) as self.storage:
            try:
                self.before_train()
                for self.iter in range(start_iter, max_iter):
                    self.before_step()
                    self.run_step()
                    self.after_step()
                self.iter += 1
            finally:
                self.after_train()

    def run_step(self) -> None:
        """Update the parameters once."""
        self.optimizer.zero_grad(set_to_none=True)
        checks, data_time = [], 0.0
        for micro in range(self.accumulate):
            start = time.perf_counter()
            batch = self._next_batch()
            data_time += time.perf_counter() - start
            with self._without_sync(micro < self.accumulate - 1):
                losses = self._losses(batch)
                checks.append(FiniteCheck(losses, batch))
                total = torch.stack(list(losses.values())).sum() / self.accumulate
                self.scaler.scale(total).backward()
        for check in checks:
            check.raise_if_not(self.iter)
        self._update()
        totals: dict[str, Tensor] = {}
        for check in checks:  # its values are on the host by now
            for name, value in zip(check.names, check.values, strict=True):
                totals[name] = totals.get(name, 0) + value / self.accumulate
        self._write_metrics(totals, data_time)

    def _next_batch(self) -> Batch:
        try:
            return next(self._data_loader_iter)
        except DataError as error:
            raise DataError(one_line(error)) from None

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        try:
            mixed = self.precision != torch.float32
            with torch.autocast(self.device.type, self.precision, enabled=mixed):
                return self.model(batch)
        except FloatingPointError as error:
            raise NonFiniteLossError(_stopped(self.iter, batch, str(error))) from error

    def _without_sync(self, wanted: bool) -> contextlib.AbstractContextManager[None]:
        """Keep gradients on this rank until the last of the accumulated batches."""
        if wanted and isinstance(self.model, DistributedDataParallel):
            return self.model.no_sync()
        return contextlib.nullcontext()

    def _update(self) -> None:
        self.scaler.unscale_(self.optimizer)
        if self.clip_grad is not None:
            nn.utils.clip_grad_norm_(
                self.model.parameters(), self.clip_grad["max_norm"], self.clip_grad["norm_type"]
            )
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Return iteration, optimiser, gradient scaler and the state of the hooks."""
        return super().state_dict() | {"scaler": self.scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved state."""
        super().load_state_dict(state_dict)
        self.scaler.load_state_dict(state_dict["scaler"])


class FiniteCheck:
    """Whether the losses of a batch are finite, asked on the device and read when it is known.

    On a GPU the answer is copied beside the backward pass, so that reading it before the optimiser
    step does not wait for more than the forward pass.

    Args:
        losses: scalars.
        batch: the model's input, for the image ids in the message.
    """

    def __init__(self, losses: Mapping[str, Tensor], batch: Batch) -> None:
        self.names = list(losses)
        self.batch = batch
        values = torch.stack([value.detach() for value in losses.values()]).float()
        self.event = torch.cuda.Event() if values.is_cuda else None
        self.values = torch.empty_like(values, device="cpu", pin_memory=values.is_cuda)
        self.values.copy_(values, non_blocking=True)
        if self.event is not None:
            self.event.record()

    def raise_if_not(self, iteration: int) -> None:
        """Raise NonFiniteLossError with iteration, terms and image ids if a loss is not finite."""
        if self.event is not None:
            self.event.synchronize()
        bad = [
            f"{name} is {value}"
            for name, value, finite in zip(
                self.names, self.values.tolist(), self.values.isfinite().tolist(), strict=True
            )
            if not finite
        ]
        if bad:
            raise NonFiniteLossError(_stopped(iteration, self.batch, ", ".join(bad)))


def _stopped(iteration: int, batch: Sequence[Mapping[str, Any]], reason: str) -> str:
    ids = ", ".join(str(item.get("image_id", "?")) for item in batch)
    return (
        f"iteration {iteration}, image ids {ids}: {reason}; stopped before the optimiser step. "
        "Lower optimizer.lr, lengthen the warm-up or set train.amp=bf16 or off"
    )
