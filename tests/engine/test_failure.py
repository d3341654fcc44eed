"""The report of a failed process, and the root cause of several failures."""

import pickle
import time

import pytest

from stageinteractor.engine.failure import Failure, failure_message, root_cause
from stageinteractor.errors import ConfigError, DataError

LOST = RuntimeError("[gloo/transport/tcp/pair.cc:545] Read error: Connection reset by peer")


def raised(*errors):
    """Return the last of some errors, each raised while the one before it was handled."""
    last = None
    for error in errors:
        try:
            try:
                if last is not None:
                    raise last
            finally:
                raise error
        except BaseException as caught_error:
            last = caught_error
    return last


def test_our_errors_are_one_line_others_a_traceback():
    ours = Failure.of(raised(DataError("photo.png:\n  cannot be read")), 3)
    assert (ours.rank, ours.text, ours.code) == (3, "photo.png: cannot be read", 2)
    other = Failure.of(raised(ValueError("boom")), 0)
    assert other.code == 1 and not other.is_consequence
    assert other.text.startswith("Traceback") and other.text.endswith("ValueError: boom")
    assert abs(other.time - time.time()) < 60
    assert pickle.loads(pickle.dumps(other)) == other


def test_exit_after_our_error_reports_the_error():
    failure = Failure.of(raised(ConfigError("train.amp is 'x'"), SystemExit(2)), 0)
    assert (failure.text, failure.code) == ("train.amp is 'x'", 2)


@pytest.mark.parametrize(
    ("code", "text"), [(7, "ended with exit code 7"), ("no space", "no space")]
)
def test_other_exits_report_their_code(code, text):
    failure = Failure.of(SystemExit(code), 0)
    assert failure.text == text and failure.code == (code if code == 7 else 1)


@pytest.mark.parametrize("code", [None, 0, 130, 143])
def test_stop_on_a_signal_is_no_failure(code):
    assert Failure.of(SystemExit(code), 0) is None
    assert Failure.of(KeyboardInterrupt(), 0) is None


def test_lost_connection_is_a_consequence():
    assert Failure.of(raised(LOST), 0).is_consequence
    clean_up_failed = Failure.of(raised(DataError("the cause"), LOST), 0)
    assert clean_up_failed.text == "the cause" and not clean_up_failed.is_consequence


def test_root_cause_is_reported_even_if_others_are_faster():
    follows = Failure(0, "Traceback\nlost", is_consequence=True, time=1.0)
    cause, later = Failure(2, "ended by SIGKILL", time=2.0), Failure(1, "later", time=3.0)
    assert root_cause([follows, later, cause]) is cause
    assert failure_message([follows, later, cause], 4) == "error: rank 2 of 4: ended by SIGKILL"
    lines = failure_message([follows], 4).splitlines()
    assert lines[:2] == ["Traceback", "lost"]
    assert lines[2].startswith("error: rank 0 of 4 failed") and "another machine" in lines[2]


def test_error_of_all_ranks_is_reported_without_rank():
    failures = [Failure(rank, "no such file", 2, time=1.0) for rank in (0, 1)]
    assert failure_message(failures, 2) == "error: no such file"
    assert failure_message(failures, 3) == "error: rank 0 of 3: no such file"
