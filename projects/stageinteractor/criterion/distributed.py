"""Averages over the processes and the accumulated batches of one optimizer step.

One process needs no process group, and without `StepCounts` a step has one batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

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
    return _rank_sum(counts).clamp(min=1.0) / world_size()


def step_average(counts: Tensor) -> Tensor:
    """Return counts averaged over the ranks and over the accumulated batches of a step.

    As `rank_average` where the step has one batch. Losses divided by it have, averaged over ranks
    and batches, the gradient of all images of the step in one batch.

    Args:
        counts: as for `rank_average`; ignored where `StepCounts` has the totals already.
    """
    step = _current.get()
    if step is None:
        return rank_average(counts)
    if step.is_counting:
        step.add(_rank_sum(counts))
        return counts.clamp(min=1.0)  # the losses are not used
    return step.next_total().clamp(min=1.0) / (world_size() * step.batches)


def _rank_sum(counts: Tensor) -> Tensor:
    if world_size() > 1:
        dist.all_reduce(counts)
    return counts


class StepCounts:
    """Totals of the counts that losses are divided by, over the accumulated batches of a step.

    First every batch passes through the model within `counting`, without gradient; then every
    batch passes again within `using`, with gradient and with the totals of all.
    """

    def __init__(self) -> None:
        self.batches = 0
        self.is_counting = False
        self.totals: list[Tensor] = []  # one for each call of `step_average`
        self.position = 0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Add the counts of one batch within the block."""
        self.batches += 1
        with self._entered(is_counting=True):
            yield

    @contextmanager
    def using(self) -> Iterator[None]:
        """Divide the losses of one batch by the totals within the block."""
        with self._entered(is_counting=False):
            yield

    @contextmanager
    def _entered(self, *, is_counting: bool) -> Iterator[None]:
        self.is_counting, self.position = is_counting, 0
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def add(self, counts: Tensor) -> None:
        """Add the counts of a call to the total of that call."""
        if self.batches == 1:
            self.totals.append(counts.detach().clone())
        else:
            self.next_total().add_(counts)

    def next_total(self) -> Tensor:
        """Return the total of the next call.

        Raises:
            ValueError: the model normalises more losses than in the first batch.
        """
        if self.position >= len(self.totals):
            raise ValueError(
                f"a batch of the step has more than {len(self.totals)} normalisers: every batch "
                "must have the same losses"
            )
        self.position += 1
        return self.totals[self.position - 1]


_current: ContextVar[StepCounts | None] = ContextVar("step_counts", default=None)
