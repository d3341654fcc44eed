"""What every tool in ``tools/`` does around its work: errors in one line, a stdout that is gone."""

from __future__ import annotations

import argparse
import functools
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec

from .errors import StageInteractorError, one_line
from .memory import prefer_huge_pages
from .printable_text import printable, printable_lines

Arguments = ParamSpec("Arguments")
USER_ERROR = 2
READER_GONE = 128 + signal.SIGPIPE  # what a shell reports of a program that SIGPIPE ended
INTERRUPTED = 128 + signal.SIGINT


def add_trust_option(parser: argparse.ArgumentParser) -> None:
    """Let a tool that builds a YAML config be told that its author is trusted."""
    parser.add_argument(
        "--trust-config",
        action="store_true",
        help="build a .yaml config even if it names what is not listed as harmless: it can run "
        "any program (tools/list_targets.py lists what it names)",
    )


def command(main: Callable[Arguments, int]) -> Callable[Arguments, int]:
    """Let the main function of a tool report what its user can cause, without a traceback.

    Our own errors, and files and folders that cannot be used, become one line on standard error and
    exit code 2; so does a standard output that is full. Where its reader is gone, as in ``| head``,
    the tool ends without a word. Before ``main``, torch's way to take memory is chosen.
    """

    @functools.wraps(main)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> int:
        prefer_huge_pages()
        with _forgiving_output():
            try:
                code = _code_of(main, *args, **kwargs)
            except SystemExit as stop:  # argparse, after its help or an error
                _check_stdout(stop)
                raise
            failure = _stdout_failure()
            return code if failure is None else _report_stdout(failure)

    return run


def show(text: str) -> None:
    """Print text that may hold names from data: a terminal obeys nothing in it."""
    print(printable_lines(text), flush=True)


def _code_of(
    main: Callable[Arguments, int], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> int:
    """Return the exit code of ``main``, or that of the error it has ended with."""
    try:
        return main(*args, **kwargs)
    except StageInteractorError as error:
        reason = one_line(error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        return INTERRUPTED
    except OSError as error:
        if error.filename is None:
            failure = _stdout_failure("\n")
            if failure is None:
                raise
            return _report_stdout(failure)
        # such as an output folder that cannot be written to
        reason = f"{printable(os.fsdecode(error.filename))}: {error.strerror}"
    print(f"error: {reason}", file=sys.stderr, flush=True)
    return USER_ERROR


def _check_stdout(stop: SystemExit) -> None:
    """Change the exit code if what was printed does not reach its reader."""
    failure = _stdout_failure()
    if failure is not None:
        stop.code = _report_stdout(failure)


def _stdout_failure(text: str = "") -> OSError | None:
    """Write what is buffered, and ``text``; return the error if standard output takes nothing."""
    if sys.stdout is None:  # closed before the start
        return None
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        return error
    return None


def discard_unread_output() -> None:
    """Drop what standard output does not take, or Python reports it when the process ends."""
    if _stdout_failure() is None:
        return
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except io.UnsupportedOperation:  # no file at all, such as a test's
        return


def _report_stdout(failure: OSError) -> int:
    """Say in one line that standard output is full, or nothing if its reader is gone."""
    discard_unread_output()
    if isinstance(failure, BrokenPipeError):
        return READER_GONE
    print(f"error: standard output: {failure.strerror}", file=sys.stderr, flush=True)
    return USER_ERROR


@contextmanager
def sigterm_as_exit() -> Iterator[None]:
    """Let SIGTERM end the block as an exception, so that open results are completed.

    Outside the main thread, where Python handles no signals, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _forgiving_output() -> Iterator[None]:
    """Escape what standard output cannot encode; a log that cannot be written prints no traceback.

    A training whose reader is gone goes on: it has its files, and the log among them.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
    before = logging.raiseExceptions
    logging.raiseExceptions = False
    try:
        yield
    finally:
        logging.raiseExceptions = before
