"""Check losses for NaN and inf, and keep the batch of such a step.

The batch is saved as tensors, plain values, `Boxes` and `Instances`, which `torch.load` reads
without executing code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

Batch = list[dict[str, Any]]
HAS_STOPPED = "training has stopped."  # in the message of NonFiniteLossError


class NonFiniteStep(NamedTuple):
    """A step whose losses or gradients are NaN or infinite.

    Args:
        micro: index of the accumulated batch.
    """

    iteration: int
    micro: int
    batch: Batch


class FiniteCheck:
    """Check whether the losses of a batch are finite, without waiting for the backward pass.

    On a GPU the losses are copied to the CPU during the backward pass. Reading them before the
    optimizer step waits for the forward pass only.

    Args:
        losses: scalars by name.
    """

    def __init__(self, losses: Mapping[str, Tensor]) -> None:
        self.names = list(losses)
        values = torch.stack([value.detach() for value in losses.values()]).float()
        self.event = torch.cuda.Event() if values.is_cuda else None
        self.values = torch.empty_like(values, device="cpu", pin_memory=values.is_cuda)
        self.values.copy_(values, non_blocking=True)
        if self.event is not None:
            self.event.record()

    def non_finite(self) -> list[str]:
        """Describe every loss that is NaN or infinite, by term, stage and value."""
        if self.event is not None:
            self.event.synchronize()
        descriptions = []
        for name, value in zip(self.names, self.values, strict=True):
            if not value.isfinite():
                term, stage = term_and_stage(name)
                descriptions.append(f"{term}{stage and f' of stage {stage}'} is {value.item()}")
        return descriptions


def term_and_stage(name: str) -> tuple[str, str]:
    """Split "loss_class_0" into term and stage; the stage is empty in names without a number."""
    match = re.fullmatch(r"(.+)_(\d+)", name)
    return (match[1], match[2]) if match else (name, "")


def savable_batch(batch: Sequence[dict[str, Any]]) -> Batch:
    """Return the batch without what `read_recorded_step` does not load, such as masks."""
    return [
        {
            key: _without_masks(value) if isinstance(value, Instances) else value
            for key, value in item.items()
            if isinstance(value, Tensor | Instances | bool | int | float | str)
        }
        for item in batch
    ]


def _without_masks(instances: Instances) -> Instances:
    fields = {k: v for k, v in instances.get_fields().items() if isinstance(v, Boxes | Tensor)}
    return Instances(tuple(map(int, instances.image_size)), **fields)
