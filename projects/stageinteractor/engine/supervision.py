"""Watch over processes that work together: one that fails ends all, a signal reaches all."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType

from .failure import STOPPED, Failure, first, tell
from .stopping import signals_to_note

GRACE = 10.0  # seconds that the others have to end by themselves when one has failed
STOP_GRACE = 120.0  # seconds that the others have when one has stopped in order
POLL = 0.5  # seconds until a signal is passed on


def supervise(
    start: Callable[[], Sequence[BaseProcess]],
    reports: Sequence[Connection],
    ranks: Sequence[int],
    world_size: int,
) -> int:
    """Start processes, wait until all have ended and return the exit code for this one.

    A process that fails sends a `Failure` and ends, or just ends. The others may wait for it for
    ever and see no signal while they do, so they are killed soon after. SIGTERM and SIGINT are
    passed on, and how to stop is left to the processes. What failed first is told on standard
    error.

    Args:
        start: starts them.
        reports: where each sends its failure.
        ranks: of each.
        world_size: number of processes, also on other machines.
    """
    with _noted() as signals:
        watch = Watch(start(), reports, ranks, signals)
        watch.until_all_have_ended()
    failures = watch.failures
    if signals and all(each.follows for each in failures):
        return 128 + signals[0]
    if failures:
        print(tell(failures, world_size), file=sys.stderr, flush=True)
        return first(failures).code
    return max(process.exitcode or 0 for process in watch.processes)  # a stop, or 0


class Watch:
    """The processes, and what is known of their end.

    Args:
        processes: started.
        reports: where each sends its failure.
        ranks: of each.
        signals: numbers of those that have come, which grows meanwhile.
    """

    def __init__(
        self,
        processes: Sequence[BaseProcess],
        reports: Sequence[Connection],
        ranks: Sequence[int],
        signals: list[int],
    ) -> None:
        self.processes = processes
        self.reports = reports
        self.ranks = ranks
        self.signals = signals
        self.failures: list[Failure] = []
        self.running = list(range(len(processes)))
        self.passed_on = 0  # signals
        self.deadline = float("inf")

    def until_all_have_ended(self) -> None:
        """Wait, pass signals on, and end the others when one has failed."""
        while self.running:
            wait([self.processes[i].sentinel for i in self.running], POLL)
            self._pass_signals_on()
            self._collect_reports()
            for index in [i for i in self.running if not self.processes[i].is_alive()]:
                self.running.remove(index)
                self._note_end(index)
            if self.failures or len(self.signals) > 1:
                self._end_within(GRACE)
            if time.monotonic() > self.deadline:
                self._kill()

    def _pass_signals_on(self) -> None:
        for number in self.signals[self.passed_on :]:
            self.passed_on += 1
            for index in self.running:
                _send(self.processes[index], number)

    def _collect_reports(self) -> None:
        for report in self.reports:
            while report.poll():
                self.failures.append(report.recv())

    def _note_end(self, index: int) -> None:
        self._collect_reports()
        code, rank = self.processes[index].exitcode or 0, self.ranks[index]
        if code in STOPPED or -code in self.signals:
            self._end_within(STOP_GRACE)
        elif code and all(failure.rank != rank for failure in self.failures):
            self.failures.append(Failure(rank, _silent_end(code), time=time.time()))

    def _end_within(self, seconds: float) -> None:
        self.deadline = min(self.deadline, time.monotonic() + seconds)

    def _kill(self) -> None:
        for index in self.running:
            self.processes[index].kill()
            self.processes[index].join()
        self.running.clear()


def _send(process: BaseProcess, number: int) -> None:
    if process.pid is not None and process.is_alive():
        os.kill(process.pid, number)


def _silent_end(code: int) -> str:
    if code > 0:
        return f"ended with exit code {code}; its own output may say why"
    hint = "; the system may have run out of memory" if -code == signal.SIGKILL else ""
    return f"ended by {signal.Signals(-code).name}{hint}"


@contextmanager
def _noted() -> Iterator[list[int]]:
    """Yield a list to which the numbers of signals are added, instead of their ending us.

    Outside the main thread, where Python handles no signals, it stays empty.
    """
    numbers: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield numbers
        return

    def note(number: int, frame: FrameType | None) -> None:
        numbers.append(number)

    before = {number: signal.signal(number, note) for number in signals_to_note()}
    try:
        yield numbers
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
