"""One training at a time in a folder: two would replace each other's checkpoints.

The lock belongs to a process, on a POSIX system: however that ends, the kernel takes it away, and
the processes that it has forked to read images do not hold it. Network file systems know it too.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from detectron2.utils import comm

from ..errors import OutputError
from ..files import write_errors_of

logger = logging.getLogger(__name__)
FILE = ".training.lock"  # stays when the training ends: removing it could free another's
LONGEST_NOTE = 4096  # bytes


@contextmanager
def sole_training(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the lock of a folder within the block; the first of several processes does it for all.

    Raises:
        OutputError: another training holds it, or the folder cannot be written to; in all
            processes.
    """
    handle, refusal = None, ""
    if comm.is_main_process():
        try:
            handle = _lock(Path(folder))
        except OutputError as error:
            refusal = str(error)
    refusals = list(filter(None, comm.all_gather(refusal)))
    if refusals:
        raise OutputError(refusals[0])
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _lock(folder: Path) -> int:
    """Lock the folder and note who does; return the open file."""
    with write_errors_of(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        holder = _holder(handle)
        os.close(handle)
        raise OutputError(
            f"{folder}: {holder} is training into this folder; wait for it or end it, or set "
            "another train.output_dir"
        ) from None
    except OSError as error:  # a file system without locks
        logger.warning("%s: cannot be locked against a second training: %s", folder, error.strerror)
        return handle
    with write_errors_of(folder / FILE):
        os.ftruncate(handle, 0)
        note = {"pid": os.getpid(), "host": socket.gethostname()}
        os.write(handle, json.dumps(note).encode())
    return handle


def _holder(handle: int) -> str:
    """Return what the lock's holder wrote of itself."""
    try:
        note = json.loads(os.pread(handle, LONGEST_NOTE, 0))
        return f"process {int(note['pid'])} on {str(note['host'])!r}"
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):  # not written yet
        return "another process"
