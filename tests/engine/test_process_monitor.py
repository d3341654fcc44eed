"""Processes that end, fail, stop and hang."""

import multiprocessing
import os
import signal
import threading
import time

import pytest

from stageinteractor.engine import process_monitor
from stageinteractor.engine.failure import Failure

SPAWN = multiprocessing.get_context("spawn")
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(500)"
CAREFUL = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(143));"
    " time.sleep(500)"
)


def monitored(*work, world_size=2, sent=()):
    """Monitor processes, each a (function, *arguments); return the exit code."""
    processes = [SPAWN.Process(target=function, args=args) for function, *args in work]
    pipes = [multiprocessing.Pipe(duplex=False) for _ in work]
    for index, failure in sent:
        pipes[index][1].send(failure)

    def start():
        for process in processes:
            process.start()
        return processes

    readers = [reader for reader, _ in pipes]
    code = process_monitor.monitor_processes(start, readers, range(len(work)), world_size)
    assert not any(process.is_alive() for process in processes)
    return code


@pytest.fixture(autouse=True)
def _quiet_imports(monkeypatch):
    """Keep warnings of other packages, which the processes print when they import them, away."""
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr(process_monitor, "GRACE", 0.5)
    monkeypatch.setattr(process_monitor, "STOP_GRACE", 1.0)


@pytest.fixture
def terminate():
    """Send SIGTERM to this process, once its children have had time to start."""
    timers = []

    def after(*seconds):
        for each in seconds:
            timers.append(threading.Timer(each, os.kill, (os.getpid(), signal.SIGTERM)))
            timers[-1].start()

    yield after
    for timer in timers:
        timer.cancel()


def test_success_prints_nothing(capsys):
    assert monitored((time.sleep, 0.1), (time.sleep, 0)) == 0
    assert capsys.readouterr().err == ""


def test_failure_ends_a_waiting_worker(soon, capsys):
    assert monitored((time.sleep, 500), (os._exit, 7)) == 1
    assert "error: rank 1 of 2: ended with exit code 7" in capsys.readouterr().err


def test_killed_worker_ends_one_that_ignores_signals(soon, capsys):
    assert monitored((exec, DEAF), (signal.raise_signal, signal.SIGKILL)) == 1
    assert "error: rank 1 of 2: ended by SIGKILL; the system may" in capsys.readouterr().err


def test_failed_worker_that_does_not_exit_is_killed(soon, capsys):
    failure = Failure(0, "photo.png cannot be read", 2, time=1.0)
    assert monitored((exec, DEAF), (time.sleep, 500), sent=[(0, failure)]) == 2
    assert capsys.readouterr().err == "error: rank 0 of 2: photo.png cannot be read\n"


def test_reported_failure_is_printed_once(soon, capsys):
    failure = Failure(1, "Traceback\nValueError: boom", time=1.0)
    assert monitored((time.sleep, 0), (os._exit, 1), sent=[(1, failure)]) == 1
    message = capsys.readouterr().err
    assert message == "Traceback\nValueError: boom\nerror: rank 1 of 2 failed, see above\n"


def test_signal_is_forwarded_to_all_workers(terminate, capfd):
    before = signal.getsignal(signal.SIGTERM)
    terminate(3)
    assert monitored((exec, CAREFUL), (exec, CAREFUL)) == 143
    assert capfd.readouterr().err == ""
    assert signal.getsignal(signal.SIGTERM) is before


def test_workers_without_a_handler_are_stopped(terminate, capfd):
    terminate(3)
    assert monitored((time.sleep, 500), (time.sleep, 500)) == 143
    assert capfd.readouterr().err == ""


def test_second_signal_ends_workers_that_ignore_signals(soon, terminate, monkeypatch):
    monkeypatch.setattr(process_monitor, "REPEATED", 0.0)
    terminate(3, 4)
    assert monitored((exec, DEAF), (exec, DEAF)) == 143


def test_repeated_signal_leaves_time_to_save(monkeypatch, terminate, tmp_path):
    """As when a session is closed: SIGTERM and SIGHUP, or one that the launcher gets twice."""
    save = f"(__import__('time').sleep(1.5), open({str(tmp_path / 'saved')!r}, 'w'), exit(143))"
    slow = CAREFUL.replace("sys.exit(143)", save)
    monkeypatch.setattr(process_monitor, "GRACE", 0.5)
    monkeypatch.setattr(process_monitor, "REPEATED", 600)
    terminate(3, 3.1)
    assert monitored((exec, slow)) == 143
    assert (tmp_path / "saved").exists()


def test_connection_lost_after_a_signal_is_no_failure(terminate, capsys):
    lost = Failure(0, "Traceback\nlost", is_consequence=True, time=1.0)
    terminate(0.01)
    assert monitored((time.sleep, 500), (time.sleep, 500), sent=[(0, lost)]) == 143
    assert capsys.readouterr().err == ""
