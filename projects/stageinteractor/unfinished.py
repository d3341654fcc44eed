"""Files and folders that are still being written, under hidden names beside their final places.

Their process holds a lock on them, which the system takes away when the process ends, however it
does. So what lies there without a lock was left by a process that was killed, and is removed by the
next one that writes into the folder.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

MARK = "unfinished"
NAME = re.compile(rf"\..*-{MARK}-[a-z0-9_]{{8}}(\.[^.]*)?", re.DOTALL)
LONGEST_STEM = 100  # bytes of the final name that are kept: a whole name has at most 255
READ_ONLY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe would wait for its writer


@contextmanager
def unfinished_file(target: Path) -> Iterator[Path]:
    """Yield a new empty file in the folder of ``target``, with its suffix; it is locked.

    It is removed at the end of the block if it is still there.
    """

    def create(prefix: str) -> tuple[str, int]:
        descriptor, name = tempfile.mkstemp(target.suffix, prefix, target.parent)
        return name, descriptor

    name, lock = _create_locked(target, create)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
        os.close(lock)


@contextmanager
def unfinished_folder(target: Path) -> Iterator[Path]:
    """Yield a new empty folder beside ``target``, as `unfinished_file` does a file."""

    def create(prefix: str) -> tuple[str, int]:
        name = tempfile.mkdtemp("", prefix, target.parent)
        return name, os.open(name, READ_ONLY)

    name, lock = _create_locked(target, create)
    try:
        yield Path(name)
    finally:
        shutil.rmtree(name, ignore_errors=True)
        os.close(lock)


def _create_locked(target: Path, create: Callable[[str], tuple[str, int]]) -> tuple[str, int]:
    """Create something beside ``target`` and lock it; return its path and open descriptor.

    Before it is locked another process may take it for abandoned; then the next one is created.
    """
    remove_abandoned(os.path.realpath(target.parent))
    stem = os.fsdecode(os.fsencode(target.stem)[:LONGEST_STEM])
    while True:
        name, descriptor = create(f".{stem}-{MARK}-")
        try:
            is_ours = _lock(descriptor)
        except OSError:  # a file system without locks, where nothing is taken for abandoned
            return name, descriptor
        if is_ours and os.path.exists(name):
            return name, descriptor
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock an open file or folder; return False if another process has done so."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@cache  # once a process and folder: thousands of images may go into one
def remove_abandoned(folder: str) -> None:
    """Remove from a folder what killed processes have left unfinished there."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.path for entry in entries if NAME.fullmatch(entry.name)]
    except PermissionError:  # a folder may be written to, but not listed
        return
    for name in names:
        _remove_if_abandoned(name)


def _remove_if_abandoned(name: str) -> None:
    try:
        descriptor = os.open(name, READ_ONLY)
    except OSError:  # gone, or another user's
        return
    try:
        if not _lock(descriptor):
            return
        if os.path.isdir(name):
            shutil.rmtree(name, ignore_errors=True)
        else:
            os.unlink(name)
    except OSError:  # without locks nobody knows; what cannot be removed does not matter either
        return
    finally:
        os.close(descriptor)
