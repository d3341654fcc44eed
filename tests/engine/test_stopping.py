import os
import signal
import threading

import pytest

from stageinteractor.engine.stopping import Stopped, StopRequest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_handlers_are_put_back(number):
    before = signal.getsignal(number)
    request = StopRequest()
    with request.listening():
        assert request.agreed() == 0
        signal.raise_signal(number)
        assert request.agreed() == number
    assert signal.getsignal(number) is before


def test_a_later_signal_is_handled_as_ever():
    request = StopRequest()
    with pytest.raises(KeyboardInterrupt), request.listening():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # the same one, by another way
        signal.raise_signal(signal.SIGTERM)
        assert request.agreed() == signal.SIGINT
        request.since -= 1.5
        signal.raise_signal(signal.SIGINT)


def test_a_process_that_was_forked_does_not_note_it(monkeypatch):
    request = StopRequest()
    with request.listening():
        monkeypatch.setattr(os, "getpid", lambda: -1)
        signal.raise_signal(signal.SIGTERM)
    assert request.signal == 0


def test_outside_the_main_thread_nothing_is_listened_to():
    before = signal.getsignal(signal.SIGTERM)
    found = []

    def listen() -> None:
        with StopRequest().listening():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert found == [before]


def test_batches_end_after_a_signal():
    request, seen = StopRequest(), []
    batches = request.watch([1, 2, 3])
    assert len(batches) == 3
    with pytest.raises(Stopped):
        for batch in batches:
            seen.append(batch)
            request.signal = signal.SIGTERM
    assert seen == [1]
