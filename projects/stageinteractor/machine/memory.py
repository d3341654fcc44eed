"""torch's memory allocation on CPUs."""

from __future__ import annotations

import os


def prefer_huge_pages() -> None:
    """Make torch request huge pages for tensors of 2 MiB and more, unless the user has set it.

    Linux maps a new tensor page by page, at the first write; with pages of 4 KiB that takes several
    times as long as the write. Call this before the first tensor is made. Systems without huge
    pages ignore it; child processes inherit it.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
