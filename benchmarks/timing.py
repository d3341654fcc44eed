"""How long calls take, and how much memory they need at their peak.

On a CPU the clock is the host's. On a GPU events are recorded around the call, and its kernels are
queued behind a short wait, so that the time is the device's alone and not Python's for launching
them; only a call that itself waits for the device, as the matcher does, has its host time in it.
(`torch.utils.benchmark` takes the host's time around a synchronisation, one call after the other.)
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
    """What repeated runs of a call took."""

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
    """Time several calls in turn, A B A B, so that a disturbance of the machine hits all of them.

    Args:
        runs: what is called. They may build on each other, as the phases of a training step do.
        device: where they run.
        repeats: timed calls of each, at least 2, after one that warms up.
        seconds: stop early, but not before the second one, when the calls have taken so long.
        warm_up: begin with a call of each that does not count.
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
    gc.disable()  # its pauses are no part of a call
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
    """Events on the GPU; every call is queued behind a wait as long as the last one was launched.

    The first call has no wait before it: it is the one that warms up.
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
    """Return how many bytes a call allocates at its peak, beyond what is there before it.

    On a GPU that is what torch's allocator counts; on a CPU every allocation and release that
    torch's profiler sees is added up in order of time. What libraries allocate by themselves is
    not in it.
    """
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # or it tells of every start and stop
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    results = profiler.profiler.kineto_results
    changes = [(e.start_ns(), e.nbytes()) for e in results.events() if e.name() == "[memory]"]
    now = peak = 0
    for _, change in sorted(changes, key=lambda entry: entry[0]):
        now += change
        peak = max(peak, now)
    return peak
