"""Only regular files of a sensible size are read; `require_regular_file` looks before opening.

A path from an annotation file or a command line may lead to a FIFO, which is waited for without
end, or to a device such as /dev/zero, which never ends. Symbolic links to regular files are fine.
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
    """A path leads to something that is not read.

    Args:
        path: as it was given.
        reason: what is wrong with it.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"{os.fspath(path)}: {reason}")
        self.reason = reason


def require_regular_file(
    path: str | os.PathLike[str], limit: int | None = None, *, may_be_empty: bool = False
) -> None:
    """Refuse what is no regular file, is empty or too large, without opening it.

    An empty file is refused because those of /proc, which may be waited for or not end, say that
    they are empty.

    Args:
        path: symbolic links are followed.
        limit: bytes that the file may have at most.
        may_be_empty: an empty file means something.

    Raises:
        UnsuitableFileError: it is not to be read.
        OSError: there is no such file, or it cannot be looked up.
        ValueError: no file can have this name.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise UnsuitableFileError(path, f"is {kind}, not a regular file")
    if status.st_size == 0 and not may_be_empty:
        raise UnsuitableFileError(path, "is empty")
    if limit is not None and status.st_size > limit:
        size, most = _show(status.st_size), _show(limit)
        raise UnsuitableFileError(path, f"{size} are more than the {most} that are read")


def _show(size: int) -> str:
    return f"{size / GIB:.4g} GiB" if size >= GIB else f"{size / MIB:.4g} MiB"
