"""torch's memory allocation on CPUs."""

from __future__ import annotations

import ctypes
import os

# parameters of glibc's mallopt, and the variables that set them
MALLOC_SETTINGS = {
    "MALLOC_MMAP_MAX_": (-4, 0),  # no tensor has a mapping of its own, which would end with it
    "MALLOC_TRIM_THRESHOLD_": (-1, -1),  # never
    "MALLOC_TOP_PAD_": (-2, 64 * 2**20),
}


def prefer_huge_pages() -> None:
    """Make torch request huge pages for tensors of 2 MiB and more, unless the user has set it.

    Linux maps a new tensor page by page, at the first write; with pages of 4 KiB that takes several
    times as long as the write. Call this before the first tensor is made. Systems without huge
    pages ignore it; child processes inherit it.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def keep_freed_memory() -> None:
    """Make glibc reuse freed memory, unless the user has set how it allocates.

    By default a freed tensor of some megabytes goes back to the system, and the next one of the
    same size is mapped and cleared again, page by page. The process keeps what it had at its
    peak, as with torch's allocator on GPUs. Systems without glibc are left as they are.
    """
    if any(name.startswith("MALLOC_") and name.endswith("_") for name in os.environ):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return
    for name, (parameter, value) in MALLOC_SETTINGS.items():
        mallopt(parameter, value)
        os.environ[name] = str(value)  # of child processes
