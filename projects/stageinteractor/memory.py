"""How torch takes memory from the system on CPUs: what the tools choose, before it takes any."""

from __future__ import annotations

import os


def prefer_huge_pages() -> None:
    """Let torch ask Linux for huge pages for tensors of 2 MiB and more, unless the user has chosen.

    A fresh tensor's memory comes page by page, when it is first written to. With pages of 4 KiB
    that takes several times longer than the writing. torch looks at the variable when it makes its
    first tensor; systems without such pages ignore it. Processes started later inherit it.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
