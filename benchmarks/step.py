"""The whole model: an inference, and the phases of a training step."""

from __future__ import annotations

from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from stageinteractor.engine.build import build_optimizer
from stageinteractor.synthetic import Batch

from .recording import Mixed
from .roofline import size_of
from .rows import INFERENCE, TRAINING, Job


def inference_job(model: nn.Module, batch: Batch, mixed: Mixed) -> Job:
    """Return the job of one inference, in ``mixed()`` precision."""

    @torch.no_grad()
    def run() -> None:
        model.eval()
        with mixed():
            model(batch)

    images = [item["image"] for item in batch]
    moved = size_of([images, list(model.parameters())])
    return Job("whole model", INFERENCE, (run,), (moved,), ranked=False)


class TrainingStep:
    """Forward pass, backward pass and update, as the trainer makes them, phase by phase.

    Args:
        cfg: with the optimiser and the clipping of gradients.
        model: the detector.
        batch: with "instances".
        mixed: gives the precision of the forward pass.
        scale: scale the losses up, as float16 needs it.
    """

    PHASES = "forward", "backward", "optimiser"

    def __init__(
        self, cfg: DictConfig, model: nn.Module, batch: Batch, mixed: Mixed, scale: bool
    ) -> None:
        self.model = model
        self.batch = batch
        self.mixed = mixed
        self.clipping = cfg.train.clip_grad.params if cfg.train.clip_grad.enabled else None
        self.optimizer = build_optimizer(cfg, model)
        device = next(model.parameters()).device.type
        self.scaler = torch.amp.GradScaler(device, enabled=scale)
        self.total: Tensor | None = None

    def forward(self) -> None:
        """Compute the sum of the losses."""
        self.optimizer.zero_grad(set_to_none=True)
        self.model.train()
        with self.mixed():
            self.total = torch.stack(list(self.model(self.batch).values())).sum()

    def backward(self) -> None:
        """Compute the gradients."""
        assert self.total is not None
        self.scaler.scale(self.total).backward()
        self.total = None

    def update(self) -> None:
        """Clip the gradients and change the parameters."""
        self.scaler.unscale_(self.optimizer)
        if self.clipping is not None:
            nn.utils.clip_grad_norm_(
                self.model.parameters(), self.clipping["max_norm"], self.clipping["norm_type"]
            )
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def job(self) -> Job:
        """Return the job of the three phases."""
        parameters = list(self.model.parameters())
        trainable = size_of([parameter for parameter in parameters if parameter.requires_grad])
        images = [item["image"] for item in self.batch]
        moved = (
            size_of([images, parameters]),
            size_of(parameters) + trainable,  # parameters read, gradients written
            7 * trainable,  # parameter, gradient and two moments read, all but the gradient written
        )
        runs = self.forward, self.backward, self.update
        return Job("step", TRAINING, runs, moved, ranked=False, phases=self.PHASES)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Return the batch on the device, so that its copy is not part of what is measured."""
    return [{key: _moved(value, device) for key, value in item.items()} for item in batch]


def _moved(value: Any, device: torch.device) -> Any:
    return value.to(device) if hasattr(value, "to") else value
