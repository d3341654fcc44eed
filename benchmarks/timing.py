"""Time and peak memory of calls.

On a CPU the clock is the process's. On a GPU events are recorded around the call, and its kernels
are queued behind a short wait, so that the time is the device's alone, without the launches; only a
call that itself waits for the device, as the matcher does, includes its CPU time.
`torch.utils.benchmark` does not serve: it times one call after the other, not in turn; every
measurement begins with two calls that warm up, so phases that depend on each other cannot be timed;
and on a GPU it includes the launches.
"""

from __future__ import annotations

import gc
import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

Run = Callable[[], Any]
CYCLES = 2e9  # of a GPU in a second, about: only the length of the wait depends on it
LONGEST_WAIT = 0.5  # seconds


class Timing(NamedTuple):
    """The times of repeated runs of a call."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median in seconds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """The interquartile range in seconds."""
        first, _, third = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return third - first


def interleaved(
    runs: Sequence[Run],
    device: torch.device | str,
    *,
    repeats: int = 5,
    seconds: float = math.inf,
    warm_up: bool = True,
) -> list[Timing]:
    """Time several calls in turn, A B A B, so that disturbances of the machine affect all of them.

    Args:
        runs: the calls. They may build on each other, as the phases of a training step do.
        device: where they run.
        repeats: timed calls of each, at least 2, after one that warms up.
        seconds: stop early, after the second repeat, if the calls have taken longer.
        warm_up: begin with an untimed call of each.
    """
    if repeats < 2:
        raise ValueError(f"repeats must be at least 2, got {repeats}")
    stopwatch = DeviceClock() if torch.device(device).type == "cuda" else HostClock()
    if warm_up:
        for run in runs:
            stopwatch(run)
    start = time.perf_counter()
    taken: list[list[float]] = [[] for _ in runs]
    collecting = gc.isenabled()
    gc.disable()  # its pauses do not belong to a call
    try:
        while len(taken[-1]) < repeats:
            for times, run in zip(taken, runs, strict=True):
                times.append(stopwatch(run))
            if len(taken[-1]) >= 2 and time.perf_counter() - start > seconds:
                break
    finally:
        if collecting:
            gc.enable()
    return [Timing(tuple(times)) for times in taken]


class HostClock:
    """The host's clock."""

    def __call__(self, run: Run) -> float:
        """Return the seconds of a call."""
        start = time.perf_counter()
        run()
        return time.perf_counter() - start


class DeviceClock:
    """Events on the GPU; every call is queued behind a wait as long as its previous launch.

    The first call, which warms up, has no wait before it.
    """

    def __init__(self) -> None:
        self.launch: dict[Run, float] = {}

    def __call__(self, run: Run) -> float:
        """Return the seconds of a call on the device."""
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        wait = min(1.5 * self.launch.get(run, 0.0), LONGEST_WAIT)
        torch.cuda._sleep(int(wait * CYCLES))
        start = time.perf_counter()
        before.record()
        run()
        after.record()
        self.launch[run] = time.perf_counter() - start
        torch.cuda.synchronize()
        return before.elapsed_time(after) / 1e3


def peak_memory(run: Run, device: torch.device | str) -> int:
    """Return the peak of the bytes that a call allocates.

    On a GPU torch's allocator counts them; on a CPU the allocations and releases that torch's
    profiler records are summed in order of time. Memory that libraries allocate themselves is not
    included.
    """
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # or it logs every start and stop
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    results = profiler.profiler.kineto_results
    changes = [(e.start_ns(), e.nbytes()) for e in results.events() if e.name() == "[memory]"]
    now = peak = 0
    for _, change in sorted(changes, key=lambda entry: entry[0]):
        now += change
        peak = max(peak, now)
    return peak
