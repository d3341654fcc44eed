"""Run a non-finite training step again, to report where the first NaN or inf appears."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from detectron2.structures import Boxes, Instances
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from ..errors import ConfigError, DataError, first_lines, one_line
from ..randomness import seed_by_key
from ..synthetic import untrained_model
from .build import move_to_device
from .non_finite_step import Batch
from .precision import PRECISIONS
from .setup import find_device
from .weights import read_checkpoint


class RecordedStep(NamedTuple):
    """A training step with everything that is needed to run it again."""

    model: dict[str, Tensor]  # weights by name
    batch: Batch
    iteration: int
    micro: int  # index of the accumulated batch
    rank: int
    seed: int
    amp: str  # key of `PRECISIONS`

    def classes(self) -> Tensor:
        """Return the classes (T,) of all objects."""
        return torch.cat([item["instances"].gt_classes for item in self.batch])


def read_recorded_step(path: str | os.PathLike[str]) -> RecordedStep:
    """Read a ``non_finite_*.pth``.

    Raises:
        DataError: the file is not a recorded step.
    """
    with torch.serialization.safe_globals([Boxes, Instances]):
        content = read_checkpoint(path)
    try:
        step = RecordedStep(**{name: content[name] for name in RecordedStep._fields})
        step.classes()  # of every image
    except Exception as error:  # an entry of another layout can raise any error
        raise DataError(
            f"{path}: {type(error).__name__}: {one_line(error)}: give a non_finite_*.pth that a "
            "training has saved"
        ) from error
    return step


@dataclass
class Replay:
    """The result of running a step again: what was not finite."""

    iteration: int
    rank: int
    amp: str
    batch: Batch
    losses: dict[str, float] = field(default_factory=dict)
    error: str = ""  # message of the model, if it returned no losses
    non_finite_parameters: list[str] = field(default_factory=list)
    non_finite_modules: list[str] = field(default_factory=list)  # in the order in which they ran
    non_finite_gradients: list[str] = field(default_factory=list)


def replay(cfg: DictConfig, path: str | os.PathLike[str], amp: str | None = None) -> Replay:
    """Run the forward and backward pass of a recorded step; nothing is trained or written.

    Args:
        amp: precision in place of the training's: "off", "fp16" or "bf16".

    Raises:
        DataError: the file is not a recorded step, or does not fit the config.
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
    except (AttributeError, RuntimeError, TypeError) as error:
        reason = first_lines(error)
        raise DataError(f"{path}: is not of this config: {reason}") from error
    _require_classes(step, OmegaConf.select(cfg, "dataset.num_classes"), path)
    result = Replay(step.iteration, step.rank, amp, step.batch)
    result.non_finite_parameters = [n for n, p in model.named_parameters() if not _finite(p)]
    handles = [
        module.register_forward_hook(_record_non_finite(name, result.non_finite_modules))
        for name, module in model.named_modules()
        if name
    ]
    seed_by_key(step.seed, step.iteration, step.micro, step.rank)
    _run(model, result)
    for handle in handles:
        handle.remove()
    return result


def _require_classes(step: RecordedStep, count: Any, path: str | os.PathLike[str]) -> None:
    """Refuse class labels that the model lacks; on a GPU they fail an assertion."""
    classes = step.classes()
    if isinstance(count, int) and (classes >= count).any():
        raise DataError(
            f"{path}: is not of this config: it has class {int(classes.max())}, "
            f"dataset.num_classes is {count}"
        )


def _run(model: nn.Module, result: Replay) -> None:
    precision = PRECISIONS[result.amp]
    device = next(model.parameters()).device.type
    try:
        with torch.autocast(device, precision, enabled=precision != torch.float32):
            losses = model(result.batch)
    except FloatingPointError as error:
        result.error = str(error)
        return
    result.losses = {name: float(value.detach()) for name, value in losses.items()}
    torch.stack(list(losses.values())).sum().backward()
    result.non_finite_gradients = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and not _finite(parameter.grad)
    ]


def _record_non_finite(name: str, names: list[str]) -> Callable[..., None]:
    """Return a forward hook that appends a module's name if its output is not finite."""

    def record(module: nn.Module, args: Any, output: Any) -> None:
        if not all(_finite(tensor) for tensor in _tensors(output)):
            names.append(name)

    return record


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
