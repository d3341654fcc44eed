"""Temporary files and folders, under hidden names beside the final ones.

The writing process locks them, and the kernel releases the lock when the process ends. So a
temporary file without a lock is that of a killed process, and is removed by the next process that
writes into the folder.
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
MAX_STEM = 100  # bytes of the final name that are kept; a name has at most 255
READ_ONLY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # opening a pipe would block


@contextmanager
def unfinished_file(target: Path) -> Iterator[Path]:
    """Yield a new, locked, empty file in the folder of ``target``, with the same suffix.

    It is removed at the end of the block, unless it has been renamed.
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
    """Yield a new, locked, empty folder beside ``target``; see `unfinished_file`."""

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
    """Create and lock a file or folder beside ``target``; return path and open descriptor.

    If another process removes it before it is locked, another one is created.
    """
    remove_abandoned(os.path.realpath(target.parent))
    stem = os.fsdecode(os.fsencode(target.stem)[:MAX_STEM])
    while True:
        name, descriptor = create(f".{stem}-{MARK}-")
        try:
            is_ours = _lock(descriptor)
        except OSError:  # a file system without locks, where nothing counts as abandoned
            return name, descriptor
        if is_ours and os.path.exists(name):
            return name, descriptor
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock an open file or folder; return False if another process holds the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@cache  # once per folder: thousands of images may go into one
def remove_abandoned(folder: str) -> None:
    """Remove the temporary files of killed processes from a folder."""
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
    except OSError:  # a file system without locks, or not removable
        return
    finally:
        os.close(descriptor)
