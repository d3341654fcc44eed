"""Signal handlers that are replaced for a while, and processes that end with this one."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def handled_by(handler: Callable[[int, Any], Any], numbers: Iterable[int]) -> Iterator[None]:
    """Let a function handle these signals within the block.

    Outside the main thread, where Python handles no signals, it does nothing.

    Args:
        handler: called with the number of the signal and the frame that it interrupts.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, own in before.items():
            signal.signal(number, own)


def wait_or_stop(process: subprocess.Popen[Any]) -> int:
    """Return the exit code of a process; if the wait is interrupted, stop the process first.

    It gets SIGTERM, and all the time that it needs: a training writes a checkpoint.
    """
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
