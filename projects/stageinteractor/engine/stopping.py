"""Stop a training in order when the system asks for it: SIGTERM, SIGHUP or Ctrl-C.

Clusters send SIGTERM, a terminal that is closed SIGHUP. What is going on is finished first, but for
a wait for data, which may never end: it is left after a few seconds.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

logger = logging.getLogger(__name__)
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SAME = 1.0  # seconds
PATIENCE = 3.0  # seconds that a batch may take to come after a signal


class Stopped(Exception):
    """What was going on has been left because of a signal."""


def stop_signals() -> list[signal.Signals]:
    """Return the signals that ask for a stop; nohup has SIGHUP ignored, which stays so."""
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [number for number in SIGNALS if number != signal.SIGHUP or not ignored]


class StopRequest:
    """A signal that asked for a stop, agreed upon by all processes."""

    def __init__(self) -> None:
        self.signal = 0  # the number of the first signal this process has got
        self.since = 0.0
        self.is_listening = False
        self.is_waiting = False  # for data
        self.group: Any = None  # of processes, for the exchange
        self.pending: tuple[torch.Tensor, dist.Work] | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take note of signals within the block; a later one is handled as if this was not here.

        One that comes within a second of the first is the same, by another way: a cluster sends it
        to all processes, and the process that started this one passes it on.

        Outside the main thread, where Python handles no signals, nothing is listened to.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = stop_signals()
        before = {number: signal.getsignal(number) for number in [*numbers, signal.SIGALRM]}
        process = os.getpid()

        def note(number: int, frame: FrameType | None) -> None:
            if os.getpid() != process:  # one that reads images, and got it with all others
                return
            if self.signal:
                if time.monotonic() > self.since + SAME:
                    _put_back(before)
                    signal.raise_signal(number)
                return
            self.signal, self.since = number, time.monotonic()
            if self.is_waiting:
                signal.setitimer(signal.ITIMER_REAL, PATIENCE)
            logger.warning(
                "%s: will write a checkpoint after this iteration and stop; once more stops at "
                "once, without",
                signal.Signals(number).name,
            )

        def leave_waiting(number: int, frame: FrameType | None) -> None:
            if self.is_waiting and os.getpid() == process:
                raise Stopped

        for number in numbers:
            signal.signal(number, note)
        signal.signal(signal.SIGALRM, leave_waiting)
        self.is_listening = True
        try:
            yield
        finally:
            self.is_listening = False
            _put_back(before)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Wait for data within the block, but not for long once a signal has come.

        Raises:
            Stopped: a signal has come, and the data has not.
        """
        if not self.is_listening:
            yield
            return
        self.is_waiting = True
        try:
            if self.signal:
                signal.setitimer(signal.ITIMER_REAL, PATIENCE)
            yield
        finally:
            self.is_waiting = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def agreed(self) -> int:
        """Return the number of the signal, 0 without one: the same in all processes.

        To be called once an iteration. Several processes hear of a signal one iteration later,
        because the exchange runs beside the work: on the host, so that no GPU is waited for.
        """
        if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
            return self.signal
        found = 0
        if self.pending is not None:
            numbers, work = self.pending
            work.wait()
            found = int(numbers.item())
        else:
            self.group = dist.new_group(backend="gloo")
        numbers = torch.tensor(self.signal)
        work = dist.all_reduce(numbers, dist.ReduceOp.MAX, group=self.group, async_op=True)
        self.pending = numbers, work
        return found

    def watch(self, batches: Any) -> Any:
        """Return the same batches, with `Stopped` in place of the next one after a signal."""
        return _Watched(batches, self)

    def patient(self, batches: Any) -> Any:
        """Return the same batches, with `Stopped` in place of one that does not come."""
        return _Patient(batches, self)


def _put_back(handlers: dict[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


class _Patient:
    def __init__(self, batches: Any, request: StopRequest) -> None:
        self.batches = batches
        self.request = request

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        with self.request.waiting():  # starts the processes that read images
            batches = iter(self.batches)
        while True:
            with self.request.waiting():
                try:
                    batch = next(batches)
                except StopIteration:
                    return
            yield batch


class _Watched(_Patient):
    def __iter__(self) -> Iterator[Any]:
        for batch in super().__iter__():
            if self.request.signal:
                raise Stopped
            yield batch
