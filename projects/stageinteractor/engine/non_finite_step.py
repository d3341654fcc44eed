"""A training step whose losses were not finite, as plain values that a file can hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from detectron2.structures import Boxes, Instances
from torch import Tensor

Batch = list[dict[str, Any]]


class NonFiniteStep(NamedTuple):
    """Which step it was, and what went in."""

    iteration: int
    micro: int  # of the accumulated batches
    batch: Batch


def plain_batch(batch: Sequence[dict[str, Any]]) -> Batch:
    """Return the same with tensors on the host, numbers and texts only; the rest is left out."""
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
    """Return what `plain_batch` was made of, as far as it could be kept."""
    return [{key: _rebuilt(value) for key, value in item.items()} for item in plain]


def _rebuilt(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "boxes" in value:
        return Boxes(value["boxes"])
    fields = {name: _rebuilt(field) for name, field in value["fields"].items()}
    return Instances(tuple(value["image_size"]), **fields)
