"""Write what an assigner did to the training metrics.

detectron2's event storage is used when a training loop has opened one; without detectron2 nothing
is written, and the caller keeps the numbers for itself.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

PERIOD = 20  # iterations between two looks: writing copies the numbers to the host


def statistics_are_due() -> bool:
    """Tell whether a training loop is running and wants numbers in this iteration."""
    storage = _storage()
    return storage is not None and storage.iter % PERIOD == 0


def write_statistics(statistics: Mapping[str, Tensor]) -> None:
    """Write values (S,) of every stage as ``assigner/NAME_STAGE``, with one copy to the host."""
    storage = _storage()
    if storage is None:
        return
    values = torch.cat([value.float() for value in statistics.values()]).tolist()
    names = [
        f"assigner/{name}_{s}" for name, value in statistics.items() for s in range(len(value))
    ]
    for name, value in zip(names, values, strict=True):
        storage.put_scalar(name, value)


def _storage() -> Any:
    events = sys.modules.get("detectron2.utils.events")
    if events is None or not events.has_event_storage():
        return None
    return events.get_event_storage()
