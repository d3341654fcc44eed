"""As many torch threads as there are free cores.

Idle OpenMP threads spin: with one of two cores taken by another process, a training step with two
threads takes several times as long as with one. So a command starts with one thread per core that
it may use and that other processes leave free.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

USER_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_THREAD_LIMIT")
SHORTEST = 0.2  # seconds: /proc/stat counts in hundredths
CGROUP = Path("/sys/fs/cgroup")
STAT = Path("/proc/stat")


@dataclass(frozen=True)
class CpuTimes:
    """Seconds since some moment in the past.

    Args:
        wall: that have passed.
        busy: of processor time on the cores that this process may use, by all processes.
        own: of processor time of this process.
    """

    wall: float
    busy: float
    own: float


def cpu_times() -> CpuTimes | None:
    """Return the present counters; None on systems without ``/proc/stat``."""
    try:
        lines = STAT.read_text(encoding="ascii").splitlines()
        allowed = {f"cpu{index}" for index in os.sched_getaffinity(0)}
    except (OSError, AttributeError):
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    busy = 0.0
    for name, *counts in (line.split() for line in lines if line.startswith("cpu")):
        if name in allowed:
            user, nice, system, _idle, _iowait, *rest = map(int, counts)
            busy += (user + nice + system + sum(rest[:3])) / ticks  # irq, softirq, steal
    return CpuTimes(time.monotonic(), busy, time.process_time())


_AT_IMPORT = cpu_times()
_reason = "torch's default"


def usable_cores() -> int:
    """Return the number of cores that this process may use: its affinity and its cgroup's quota."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        cores = os.cpu_count() or 1
    quota = _cgroup_quota()
    return cores if quota is None else max(1, min(cores, int(quota)))


def _cgroup_quota() -> float | None:
    """Return the cores that the cgroup grants; None: no limit."""
    try:
        quota, period = (CGROUP / "cpu.max").read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:  # cgroup v1
        granted = int((CGROUP / "cpu/cpu.cfs_quota_us").read_text(encoding="ascii"))
        length = int((CGROUP / "cpu/cpu.cfs_period_us").read_text(encoding="ascii"))
        return granted / length if granted > 0 else None  # -1: no limit
    except (OSError, ValueError, ZeroDivisionError):
        return None


def free_cores(before: CpuTimes, now: CpuTimes, cores: int) -> int:
    """Return how many of the cores other processes have left free between two moments, 1 or more.

    Args:
        before, now: counters of this process.
        cores: that it may use.
    """
    taken = (now.busy - before.busy) - (now.own - before.own)
    share = max(0.0, taken) / (now.wall - before.wall)
    return max(1, min(cores, round(cores - share)))


def set_threads(processes: int = 1) -> str:
    """Give torch one thread per free core, unless the user has set a number; return a log line.

    Args:
        processes: that share the cores, such as the ranks of a training on this machine. Of
            several, each gets an equal part of all usable cores.
    """
    global _reason
    chosen = next((name for name in USER_SETTINGS if os.environ.get(name)), None)
    if chosen is not None:
        _reason = f"{chosen}={os.environ[chosen]}"
        return describe_threads()
    import torch

    cores = usable_cores()
    free = cores if processes > 1 else _free_since_import(cores)
    torch.set_num_threads(max(1, free // processes))
    _reason = f"{free} of {cores} cores free"
    return describe_threads()


def describe_threads() -> str:
    """Return the number of torch threads of this process and why it is that number."""
    import torch

    return f"torch threads: {torch.get_num_threads()} ({_reason})"


def _free_since_import(cores: int) -> int:
    now = cpu_times()
    if _AT_IMPORT is None or now is None:
        return cores
    if now.wall - _AT_IMPORT.wall < SHORTEST:
        time.sleep(SHORTEST)
        now = cpu_times() or now
    return free_cores(_AT_IMPORT, now, cores)
