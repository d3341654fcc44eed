import os
import queue
import signal
import threading
import time

import pytest

from stageinteractor.engine import stopping
from stageinteractor.engine.stopping import Stopped, StopRequest


@pytest.fixture(autouse=True)
def _signals_are_heard():
    """Tests that run in the background, or under nohup, inherit ignored signals."""
    usual = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGHUP: signal.SIG_DFL,
        signal.SIGTERM: lambda *_: pytest.fail("SIGTERM was not handled"),
    }
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_is_recorded_and_handlers_restored(number):
    before = signal.getsignal(number)
    request = StopRequest()
    with request.listening():
        assert request.agreed() == 0
        signal.raise_signal(number)
        assert request.agreed() == number
    assert signal.getsignal(number) is before


@pytest.fixture
def patient(monkeypatch):
    """No second signal is a new one before a test says so."""
    monkeypatch.setattr(stopping, "REPEATED", 600)


def end_of_patience(request: StopRequest) -> None:
    request.deaf_until = 0.0
    signal.raise_signal(signal.SIGALRM)
    deadline = time.monotonic() + 60
    while request.deaf_until < float("inf"):
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_later_signal_has_its_usual_effect(patient):
    request = StopRequest()
    with request.listening():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # the same one, by another way
        signal.raise_signal(signal.SIGTERM)
        assert request.agreed() == signal.SIGINT
        end_of_patience(request)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_repeated_signal_within_a_long_call_is_ignored(patient):
    """Python handles it after the call, when its time is over."""
    request, numbers = StopRequest(), [signal.SIGTERM, signal.SIGHUP, signal.SIGALRM]
    with request.listening():
        signal.raise_signal(signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)  # the call begins
        for number in numbers:
            os.kill(os.getpid(), number)
        request.deaf_until = 0.0
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
        end_of_patience(request)
        assert request.agreed() == signal.SIGTERM


def test_forked_process_ignores_the_signal(monkeypatch):
    request = StopRequest()
    with request.listening():
        monkeypatch.setattr(os, "getpid", lambda: -1)
        signal.raise_signal(signal.SIGTERM)
    assert request.signal == 0


def test_no_handlers_outside_the_main_thread():
    before = signal.getsignal(signal.SIGTERM)
    handlers = []

    def listen() -> None:
        with StopRequest().listening():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert handlers == [before]


def test_batches_end_after_a_signal():
    request, seen = StopRequest(), []
    batches = request.interruptible([1, 2, 3], at_once=True)
    assert len(batches) == 3
    with pytest.raises(Stopped):
        for batch in batches:
            seen.append(batch)
            request.signal = signal.SIGTERM
    assert seen == [1]


def test_ignored_sighup_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        request = StopRequest()
        with request.listening():
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert request.signal == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(stopping, "DATA_TIMEOUT", 0.1)


def never():
    """Batches of which the second does not come."""
    yield 1
    queue.Queue().get(timeout=60)


@pytest.mark.parametrize("at_once", [False, True])
def test_wait_for_data_ends_after_a_signal(impatient, at_once):
    request, seen = StopRequest(), []
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
    with request.listening(), pytest.raises(Stopped):
        timer.start()
        for batch in request.interruptible(never(), at_once):
            seen.append(batch)
    assert seen == [1] and request.signal == signal.SIGTERM


def test_wait_that_starts_after_a_signal_ends(impatient):
    request = StopRequest()
    with request.listening(), pytest.raises(Stopped):
        signal.raise_signal(signal.SIGTERM)
        list(request.interruptible(never()))


def test_batches_that_arrive_in_time_are_used(impatient):
    def slow():
        for number in range(3):
            time.sleep(0.01)
            yield number

    request = StopRequest()
    with request.listening():
        signal.raise_signal(signal.SIGTERM)
        assert list(request.interruptible(slow())) == [0, 1, 2]
        time.sleep(0.2)  # nothing is left that could come now
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
