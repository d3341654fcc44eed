"""Stop a training after the current iteration on SIGTERM, SIGHUP or Ctrl-C.

Clusters send SIGTERM, a terminal that closes SIGHUP. A wait for data, which may never end, is
interrupted after a few seconds.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

logger = logging.getLogger(__name__)
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
REPEATED = 1.0  # seconds in which further signals are the same one, by another way
DATA_TIMEOUT = 3.0  # seconds that the next batch may take after a signal


class Stopped(Exception):
    """A signal has interrupted an evaluation or a wait for data."""


def stop_signals() -> list[signal.Signals]:
    """Return the signals that stop a training; SIGHUP stays ignored where nohup ignores it."""
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [number for number in SIGNALS if number != signal.SIGHUP or not ignored]


class StopRequest:
    """Whether a signal has asked for a stop, as agreed by all processes."""

    def __init__(self) -> None:
        self.signal = 0  # number of the first signal of this process
        self.is_listening = False
        self.is_waiting = False  # for data
        self.deaf_until = self.wait_until = math.inf
        self.is_ending = False  # the time in which signals are ignored
        self.group: Any = None  # gloo process group
        self.pending: tuple[torch.Tensor, dist.Work] | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Record the first signal within the block; a later one has its usual effect.

        A second one within a second is ignored: a cluster sends a signal to all processes, and the
        launcher forwards it. So is one that arrives later within the same long call, such as a
        backward pass: Python handles both after it. Outside the main thread Python handles no
        signals.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = stop_signals()
        before = {number: signal.getsignal(number) for number in [*numbers, signal.SIGALRM]}
        process = os.getpid()

        def note(number: int, frame: FrameType | None) -> None:
            if os.getpid() != process:  # a data-loading process, forked from this one
                return
            if self.signal:
                if math.isinf(self.deaf_until):
                    _restore(before)
                    signal.raise_signal(number)
                return
            self.signal = number
            self.deaf_until = time.monotonic() + REPEATED
            if self.is_waiting:
                self.wait_until = time.monotonic() + DATA_TIMEOUT
            self._set_timer()
            logger.warning(
                "%s: will write a checkpoint after this iteration and stop; a second signal stops "
                "at once, without a checkpoint",
                signal.Signals(number).name,
            )

        def end_of_time(number: int, frame: FrameType | None) -> None:
            if os.getpid() != process:
                return
            is_late = time.monotonic() >= self.wait_until
            if time.monotonic() >= self.deaf_until:
                # twice, since SIGTERM, if it came in the same call, is handled after this
                self.deaf_until = math.inf if self.is_ending else time.monotonic() + 1e-3
                self.is_ending = True
            if is_late:
                self.wait_until = math.inf
            self._set_timer()
            if is_late:
                raise Stopped

        for number in numbers:
            signal.signal(number, note)
        signal.signal(signal.SIGALRM, end_of_time)
        self.is_listening = True
        try:
            yield
        finally:
            self.is_listening = False
            self.deaf_until = math.inf
            _restore(before)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Wait for data within the block, at most `DATA_TIMEOUT` seconds after a signal.

        Raises:
            Stopped: the data has not arrived in time.
        """
        if not self.is_listening:
            yield
            return
        self.is_waiting = True
        try:
            if self.signal:
                self.wait_until = time.monotonic() + DATA_TIMEOUT
                self._set_timer()
            yield
        finally:
            self.is_waiting = False
            self.wait_until = math.inf
            self._set_timer()

    def _set_timer(self) -> None:
        """Let SIGALRM come at the earlier of the two times."""
        seconds = min(self.deaf_until, self.wait_until) - time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0 if math.isinf(seconds) else max(seconds, 1e-3))

    def agreed(self) -> int:
        """Return the number of the signal, or 0: the same in all processes.

        Call it once per iteration. With several processes it returns the signal one iteration
        later, as the all-reduce runs asynchronously on the CPU.
        """
        if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
            return self.signal
        agreed = 0
        if self.pending is not None:
            numbers, work = self.pending
            work.wait()
            agreed = int(numbers.item())
        else:
            self.group = dist.new_group(backend="gloo")
        numbers = torch.tensor(self.signal)
        work = dist.all_reduce(numbers, dist.ReduceOp.MAX, group=self.group, async_op=True)
        self.pending = numbers, work
        return agreed

    def interruptible(self, batches: Iterable[Any], at_once: bool = False) -> Iterable[Any]:
        """Return the same batches, but raise `Stopped` if one does not arrive after a signal.

        Args:
            at_once: raise it in place of the next batch, whether or not that arrives.
        """
        return _Interruptible(batches, self, at_once)


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in handlers.items():
        signal.signal(number, handler)


class _Interruptible:
    def __init__(self, batches: Any, request: StopRequest, at_once: bool) -> None:
        self.batches = batches
        self.request = request
        self.at_once = at_once

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        with self.request.waiting():  # starts the data-loading processes
            batches = iter(self.batches)
        while True:
            with self.request.waiting():
                try:
                    batch = next(batches)
                except StopIteration:
                    return
            if self.at_once and self.request.signal:
                raise Stopped
            yield batch
