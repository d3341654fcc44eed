"""Averages over the processes of a distributed training; one process needs no process group."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Return the number of processes, 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank_average(counts: Tensor) -> Tensor:
    """Return counts of any shape, averaged over the ranks.

    The sum over ranks is clamped to at least 1, then divided by the number of ranks.
    Losses divided by it have, averaged over the ranks, the gradient of the joined batch.

    Args:
        counts: floating point, on the device of the process group; changed in place.
    """
    ranks = world_size()
    if ranks > 1:
        dist.all_reduce(counts)
    return counts.clamp(min=1.0) / ranks
