"""A lock on the output folder: two trainings in it would replace each other's checkpoints.

It is a POSIX record lock: the kernel releases it when the process ends, forked data-loading
processes do not hold it, and network file systems support it.
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
FILE = ".training.lock"  # never removed: that could release another training's lock
MAX_BYTES = 4096  # of its content


@contextmanager
def exclusive_training(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the lock of a folder within the block; rank 0 does so for all ranks.

    Raises:
        OutputError: on all ranks, if another training holds the lock or the folder is not writable.
    """
    handle, reason = None, ""
    if comm.is_main_process():
        try:
            handle = _lock(Path(folder))
        except OutputError as error:
            reason = str(error)
    reasons = list(filter(None, comm.all_gather(reason)))
    if reasons:
        raise OutputError(reasons[0])
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _lock(folder: Path) -> int:
    """Lock the folder and write process and host into the lock file; return the open file."""
    with write_errors_of(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        message = f"{folder}: {_holder(handle)} is training into this folder"
        os.close(handle)
        raise OutputError(
            f"{message}; wait for it, end it or set another train.output_dir"
        ) from None
    except OSError as error:  # a file system without locks
        logger.warning("%s: cannot be locked against a second training: %s", folder, error.strerror)
        return handle
    with write_errors_of(folder / FILE):
        os.ftruncate(handle, 0)
        holder = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
        os.write(handle, holder.encode())
    return handle


def _holder(handle: int) -> str:
    """Return process and host of the lock's holder."""
    try:
        holder = json.loads(os.pread(handle, MAX_BYTES, 0))
        return f"process {int(holder['pid'])} on {str(holder['host'])!r}"
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):  # not written yet
        return "another process"
