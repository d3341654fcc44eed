"""How much memory of a GPU or of the machine is free, and how much a call takes at its peak."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import torch

from ..errors import ConfigError

MEMINFO, STATUS = Path("/proc/meminfo"), Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
CGROUP = Path("/sys/fs/cgroup")  # of a container: its limit may be below the machine's memory
RESET_PEAK = "5"  # see proc(5)


def free_bytes(device: torch.device) -> int:
    """Return the bytes that this process may still take on a device.

    Raises:
        ConfigError: the system does not say it (it is not Linux).
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = _kibibytes(MEMINFO, "MemAvailable")
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        used = int((CGROUP / "memory.current").read_text())
        statistics = (CGROUP / "memory.stat").read_text()
    except (OSError, ValueError):  # no container, or another version of cgroups
        return free
    cache = re.search(r"^inactive_file (\d+)$", statistics, re.MULTILINE)  # freed when needed
    used -= int(cache[1]) if cache else 0
    return min(free, int(limit) - used) if limit.isdecimal() else free


def peak_bytes(function: Callable[[], None], device: torch.device) -> int:
    """Call a function; return the most bytes that were taken on a device during the call.

    On a CPU it is the memory of the whole process.

    Raises:
        ConfigError: the system does not say it.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        function()
        return torch.cuda.max_memory_reserved(device)
    try:
        CLEAR_REFS.write_text(RESET_PEAK)
    except OSError as error:
        raise _unknown() from error
    function()
    return _kibibytes(STATUS, "VmHWM")


def resident_bytes(device: torch.device) -> int:
    """Return the bytes that this process has on a device.

    Raises:
        ConfigError: the system does not say it.
    """
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    return _kibibytes(STATUS, "VmRSS")


def _kibibytes(file: Path, name: str) -> int:
    """Return an entry of a file of /proc in bytes."""
    try:
        match = re.search(rf"^{name}:\s+(\d+) kB$", file.read_text(), re.MULTILINE)
    except OSError as error:
        raise _unknown() from error
    if match is None:
        raise _unknown()
    return int(match[1]) * 1024


def _unknown() -> ConfigError:
    return ConfigError(
        "dataloader.train.total_batch_size=auto needs Linux, which says how much memory is free: "
        "set a number"
    )
