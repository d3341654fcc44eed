"""Refuse to read files that are not regular or too large, before they are opened.

A path from an annotation file or a command line may lead to a FIFO, which blocks, or to a device
such as /dev/zero, which never ends. Symbolic links to regular files are accepted.
"""

from __future__ import annotations

import os
import stat

from .errors import DataError

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
MIB, GIB = 2**20, 2**30


class UnsuitableFileError(DataError):
    """A path does not lead to a regular file of acceptable size."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"{os.fspath(path)}: {reason}")
        self.reason = reason


def require_regular_file(
    path: str | os.PathLike[str], limit: int | None = None, *, may_be_empty: bool = False
) -> None:
    """Refuse a path that is not a regular file, is empty or too large, without opening it.

    Files of /proc, which may block or never end, have the size 0.

    Args:
        path: symbolic links are followed.
        limit: maximum size in bytes.

    Raises:
        UnsuitableFileError: the file is refused.
        OSError: the file is missing, or its status cannot be read.
        ValueError: the name is invalid.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise UnsuitableFileError(path, f"is {kind}, not a regular file")
    if status.st_size == 0 and not may_be_empty:
        raise UnsuitableFileError(path, "is empty")
    if limit is not None and status.st_size > limit:
        size, max_size = _show(status.st_size), _show(limit)
        raise UnsuitableFileError(path, f"{size} are more than the {max_size} that are read")


def _show(size: int) -> str:
    return f"{size / GIB:.4g} GiB" if size >= GIB else f"{size / MIB:.4g} MiB"
