"""Run a step again that stopped a training, and tell where the first bad number came up."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from ..errors import ConfigError, DataError
from ..randomness import seed_by_key
from ..synthetic import untrained_model
from .build import move_to_device
from .non_finite_step import Batch
from .recorded_step import RecordedStep, read_recorded_step
from .setup import find_device
from .trainer import PRECISIONS


@dataclass
class Replay:
    """What a step did when it was run again."""

    iteration: int
    rank: int
    amp: str
    batch: Batch
    losses: dict[str, float] = field(default_factory=dict)
    error: str = ""  # what the model said instead of returning losses
    non_finite_parameters: list[str] = field(default_factory=list)
    non_finite_modules: list[str] = field(default_factory=list)  # in the order in which they ran
    non_finite_gradients: list[str] = field(default_factory=list)


def replay(cfg: DictConfig, path: str | os.PathLike[str], amp: str | None = None) -> Replay:
    """Run the forward and backward pass of a recorded step; nothing is trained or written.

    Args:
        cfg: of the training, such as the ``config.yaml`` of its output folder.
        path: the file that the training left when it stopped.
        amp: another precision than it had: "off", "fp16" or "bf16".

    Raises:
        DataError: the file is no such file, or not of this config.
        ConfigError: no such precision.
    """
    step = read_recorded_step(path)
    amp = step.amp if amp is None else amp
    if amp not in PRECISIONS:
        raise ConfigError(f"--amp {amp!r}: choose one of {', '.join(PRECISIONS)}")
    cfg.train.device = find_device(cfg.train.device)
    model = move_to_device(untrained_model(cfg), cfg).train()
    try:
        model.load_state_dict(step.model)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(f"{path}: is not of this config: {reason}") from error
    _require_classes(step, OmegaConf.select(cfg, "dataset.num_classes"), path)
    found = Replay(step.iteration, step.rank, amp, step.batch)
    found.non_finite_parameters = [n for n, p in model.named_parameters() if not _finite(p)]
    handles = [
        module.register_forward_hook(_note_bad_output(name, found.non_finite_modules))
        for name, module in model.named_modules()
        if name
    ]
    seed_by_key(step.seed, step.iteration, step.micro, step.rank)
    _run(model, found)
    for handle in handles:
        handle.remove()
    return found


def _require_classes(step: RecordedStep, count: Any, path: str | os.PathLike[str]) -> None:
    """Refuse classes that the model lacks: a GPU would end in an assertion of its own."""
    classes = torch.cat([item["instances"].gt_classes for item in step.batch])
    if isinstance(count, int) and (classes >= count).any():
        raise DataError(
            f"{path}: is not of this config: it has class {int(classes.max())}, "
            f"dataset.num_classes is {count}"
        )


def _run(model: nn.Module, found: Replay) -> None:
    precision = PRECISIONS[found.amp]
    device = next(model.parameters()).device.type
    try:
        with torch.autocast(device, precision, enabled=precision != torch.float32):
            losses = model(found.batch)
    except FloatingPointError as error:
        found.error = str(error)
        return
    found.losses = {name: float(value.detach()) for name, value in losses.items()}
    torch.stack(list(losses.values())).sum().backward()
    found.non_finite_gradients = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and not _finite(parameter.grad)
    ]


def _note_bad_output(name: str, bad: list[str]) -> Any:
    def note(module: nn.Module, args: Any, output: Any) -> None:
        if not all(_finite(tensor) for tensor in _tensors(output)):
            bad.append(name)

    return note


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [tensor for part in value for tensor in _tensors(part)]
    return []


def _finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())
