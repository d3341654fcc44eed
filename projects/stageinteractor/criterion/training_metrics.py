"""Write statistics of the label assignment to detectron2's training metrics.

Nothing is written unless detectron2 is imported and a training loop has opened an event storage.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

PERIOD = 20  # iterations: writing copies the numbers to the host


def statistics_are_due() -> bool:
    """Return whether a training loop is running and this iteration is one in `PERIOD`."""
    storage = _storage()
    return storage is not None and storage.iter % PERIOD == 0


def write_statistics(statistics: Mapping[str, Tensor]) -> None:
    """Write values (S,) of every stage as ``assigner/NAME_STAGE``."""
    write_metrics(
        "assigner",
        {
            f"{name}_{stage}": value[stage, None]
            for name, value in statistics.items()
            for stage in range(len(value))
        },
    )


def write_metrics(group: str, values: Mapping[str, Tensor]) -> None:
    """Write values (1,) as ``GROUP/NAME``, with one copy to the host."""
    storage = _storage()
    if storage is None or not values:
        return
    numbers = torch.cat([value.float() for value in values.values()]).tolist()
    for name, number in zip(values, numbers, strict=True):
        storage.put_scalar(f"{group}/{name}", number)


def _storage() -> Any:
    events = sys.modules.get("detectron2.utils.events")
    if events is None or not events.has_event_storage():
        return None
    return events.get_event_storage()
