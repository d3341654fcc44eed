"""The batch of a non-finite training step, as plain values that `torch.load` reads safely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from detectron2.structures import Boxes, Instances
from torch import Tensor

Batch = list[dict[str, Any]]


class NonFiniteStep(NamedTuple):
    """A step whose losses or gradients are NaN or infinite.

    Args:
        iteration: of the training.
        micro: index of the accumulated batch.
        batch: input of the model.
    """

    iteration: int
    micro: int
    batch: Batch


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
