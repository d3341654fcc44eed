"""Monitor the worker processes of a job: one that fails ends all, a signal reaches all."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from ..signals import handled_by
from .failure import STOPPED, Failure, failure_message, root_cause
from .stopping import REPEATED, stop_signals

GRACE = 10.0  # seconds that the other workers have to end when one has failed
STOP_GRACE = 120.0  # seconds that the other workers have when one has stopped on a signal
POLL = 0.5  # seconds until a signal is passed on


def monitor_processes(
    start: Callable[[], Sequence[BaseProcess]],
    reports: Sequence[Connection],
    ranks: Sequence[int],
    world_size: int,
) -> int:
    """Start the workers, wait until all have ended and return the exit code of the launcher.

    A worker that fails may send a `Failure` before it ends. The others may be blocked in a
    collective, where they handle no signal, so they are killed after `GRACE` seconds. SIGTERM,
    SIGINT and SIGHUP are passed on to the workers; a second one within a second counts as the
    first. The first failure is printed on standard error.

    Args:
        reports: one connection per worker, for its failure.
        world_size: number of workers on all machines.
    """
    signals: list[int] = []
    since = 0.0

    def note(number: int, _frame: Any) -> None:
        nonlocal since
        if not signals:
            since = time.monotonic()
        elif time.monotonic() < since + REPEATED:
            return
        signals.append(number)

    with handled_by(note, stop_signals()):
        monitor = ProcessMonitor(start(), reports, ranks, signals)
        monitor.wait()
    failures = monitor.failures
    if signals and all(failure.is_consequence for failure in failures):
        return 128 + signals[0]
    if failures:
        print(failure_message(failures, world_size), file=sys.stderr, flush=True)
        return root_cause(failures).code
    return max(process.exitcode or 0 for process in monitor.processes)  # a stop, or 0


class ProcessMonitor:
    """The workers on this machine, and the failures that they have reported.

    Args:
        reports: one connection per worker, for its failure.
        signals: numbers of the signals received so far; grows while the monitor waits.
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
        self.num_forwarded = 0  # signals
        self.deadline = float("inf")

    def wait(self) -> None:
        """Wait for all workers, pass signals on, and end the others when one has failed."""
        while self.running:
            wait([self.processes[i].sentinel for i in self.running], POLL)
            self._forward_signals()
            self._collect_reports()
            for index in [i for i in self.running if not self.processes[i].is_alive()]:
                self.running.remove(index)
                self._record_exit(index)
            if self.failures or len(self.signals) > 1:
                self._end_within(GRACE)
            if time.monotonic() > self.deadline:
                self._kill()

    def _forward_signals(self) -> None:
        for number in self.signals[self.num_forwarded :]:
            self.num_forwarded += 1
            for index in self.running:
                process = self.processes[index]
                if process.pid is not None and process.is_alive():
                    os.kill(process.pid, number)

    def _collect_reports(self) -> None:
        for report in self.reports:
            while report.poll():
                self.failures.append(report.recv())

    def _record_exit(self, index: int) -> None:
        self._collect_reports()
        code, rank = self.processes[index].exitcode or 0, self.ranks[index]
        if code in STOPPED or -code in self.signals:
            self._end_within(STOP_GRACE)
        elif code and all(failure.rank != rank for failure in self.failures):
            self.failures.append(Failure(rank, _describe_exit(code), time=time.time()))

    def _end_within(self, seconds: float) -> None:
        self.deadline = min(self.deadline, time.monotonic() + seconds)

    def _kill(self) -> None:
        for index in self.running:
            self.processes[index].kill()
            self.processes[index].join()
        self.running.clear()


def _describe_exit(code: int) -> str:
    """Describe the end of a worker that has reported no failure."""
    if code > 0:
        return f"ended with exit code {code}; its own output may say why"
    hint = "; the system may have run out of memory" if -code == signal.SIGKILL else ""
    return f"ended by {signal.Signals(-code).name}{hint}"
