"""Check losses for NaN and inf, and keep the batch of such a step.

The batch is saved as plain values, which `torch.load` reads without executing code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

Batch = list[dict[str, Any]]


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


def plain_batch(batch: Sequence[dict[str, Any]]) -> Batch:
    """Return the batch with CPU tensors, numbers and strings; other values are dropped."""
    return [_without_none({key: _plain(value) for key, value in item.items()}) for item in batch]


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Boxes):
        return {"boxes": _plain(value.tensor)}
    if isinstance(value, Instances):
        fields = {name: _plain(field) for name, field in value.get_fields().items()}
        size = [int(side) for side in value.image_size]
        return {"image_size": size, "fields": _without_none(fields)}
    return None


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def model_batch(plain: Sequence[dict[str, Any]]) -> Batch:
    """Rebuild the batch from the values of `plain_batch`."""
    return [{key: _rebuilt(value) for key, value in item.items()} for item in plain]


def _rebuilt(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "boxes" in value:
        return Boxes(value["boxes"])
    fields = {name: _rebuilt(field) for name, field in value["fields"].items()}
    return Instances(tuple(value["image_size"]), **fields)
