"""Jobs to measure, their rows of results, and sums over the decoder's stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from .roofline import Rates, count_flops
from .timing import Timing, interleaved, peak_memory

INFERENCE, TRAINING = "inference", "training"


class Job(NamedTuple):
    """Something to measure."""

    title: str
    mode: str  # INFERENCE, or TRAINING: forward and backward
    runs: tuple[Callable[[], Any], ...]  # timed separately, in order: phases
    moved: tuple[int, ...]  # minimum bytes of each of them
    stage: int | None = None  # of the decoder
    calls: int = 1
    ranked: bool = True  # its excess is compared with others; False if its parts have rows
    phases: tuple[str, ...] = ()  # their titles, if there are several


class Row(NamedTuple):
    """One measurement; of all stages together if ``stage`` is None."""

    title: str
    mode: str
    stage: int | None
    ranked: bool
    calls: int
    timing: Timing
    flops: int
    moved: int  # minimum bytes
    peak: int  # bytes
    bound: float  # seconds

    def as_json(self) -> dict[str, Any]:
        """Return plain numbers in ms, GFLOP and MiB."""
        median = 1e3 * self.timing.median
        return {
            "name": self.title,
            "mode": self.mode,
            "stage": self.stage,
            "ranked": self.ranked,
            "calls": self.calls,
            "median_ms": median,
            "spread_ms": 1e3 * self.timing.spread,
            "runs_ms": [1e3 * seconds for seconds in self.timing.seconds],
            "gflop": self.flops / 1e9,
            "least_mib": self.moved / 2**20,
            "bound_ms": 1e3 * self.bound,
            "times_bound": median / (1e3 * self.bound) if self.bound else None,
            "peak_mib": self.peak / 2**20,
        }


def measure(
    job: Job, device: torch.device, rates: Rates, repeats: int, seconds: float
) -> list[Row]:
    """Measure a job: one row for each of its runs.

    The runs are called once to count operations and memory, which also warms them up, then
    ``repeats`` times, or fewer but at least two if that takes longer than ``seconds``.
    """
    counted = [_count(run, device) for run in job.runs]
    timings = interleaved(
        job.runs,
        device,
        repeats=repeats,
        seconds=seconds,
        warm_up=device.type == "cuda",  # where counting does not warm up the launches
    )
    titles = job.phases or (job.title,)
    return [
        Row(
            title,
            job.mode,
            job.stage,
            job.ranked,
            job.calls,
            timing,
            flops,
            moved,
            peak,
            rates.bound(flops, moved),
        )
        for title, timing, (flops, peak), moved in zip(
            titles, timings, counted, job.moved, strict=True
        )
    ]


def _count(run: Callable[[], Any], device: torch.device) -> tuple[int, int]:
    """Return the operations and the peak memory of a single call."""
    flops = 0

    def counting() -> None:
        nonlocal flops
        flops = count_flops(run)

    peak = peak_memory(counting, device)
    return flops, peak


def summed(rows: Sequence[Row]) -> Row:
    """Return the sum over stages: run by run the times added, the largest peak."""
    first = rows[0]
    count = min(len(row.timing.seconds) for row in rows)
    seconds = [sum(row.timing.seconds[run] for row in rows) for run in range(count)]
    return first._replace(
        stage=None,
        calls=sum(row.calls for row in rows),
        timing=Timing(tuple(seconds)),
        flops=sum(row.flops for row in rows),
        moved=sum(row.moved for row in rows),
        peak=max(row.peak for row in rows),
        bound=sum(row.bound for row in rows),
    )


def sum_over_stages(rows: Sequence[Row]) -> list[Row]:
    """Return one row for each title and mode, in the order of their first rows."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.title, row.mode), []).append(row)
    return [summed(group) for group in groups.values()]
