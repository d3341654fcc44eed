"""Common parts of the commands: errors in one line, a closed or full standard output."""

from __future__ import annotations

import argparse
import functools
import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import ParamSpec

from .errors import StageInteractorError, one_line
from .machine.memory import keep_freed_memory, prefer_huge_pages
from .machine.threads import set_threads
from .printable_text import printable, printable_lines
from .signals import handled_by

Arguments = ParamSpec("Arguments")
USER_ERROR = 2
READER_GONE = 128 + signal.SIGPIPE  # what a shell reports of a program that SIGPIPE ended
INTERRUPTED = 128 + signal.SIGINT


def command_parser(text: str | None) -> argparse.ArgumentParser:
    """Return the parser of a command, whose help begins with this text, line by line."""
    raw = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(description=text, formatter_class=raw)


def add_path(parser: argparse.ArgumentParser, name: str, metavar: str, text: str) -> None:
    """Add an option for a path, in which ``~`` is expanded, with its help."""
    parser.add_argument(name, type=os.path.expanduser, metavar=metavar, help=text)


def add_trust_option(parser: argparse.ArgumentParser) -> None:
    """Add the option by which the user trusts the author of a YAML config."""
    parser.add_argument(
        "--trust-config",
        action="store_true",
        help="build a .yaml config even if it names objects not known to be harmless: it can "
        "run any program (stageinteractor targets lists the names)",
    )


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--config-file``, ``--trust-config`` and overrides; `take_config` reads them."""
    parser.add_argument(
        "--config-file",
        type=os.path.expanduser,
        metavar="CONFIG",
        help="a .py or .yaml file, the folder of a run, or a name of the zoo (stageinteractor "
        "configs); may also be given first, without the option",
    )
    add_trust_option(parser)
    parser.add_argument("opts", nargs="*", metavar="key=value", help="overrides of the config")


def take_config(parser: argparse.ArgumentParser, args: argparse.Namespace) -> argparse.Namespace:
    """Take the first argument that is not an override as the config, if no option names one."""
    if args.config_file is None:
        if not args.opts or "=" in args.opts[0]:
            parser.error("a config is required: a file, the folder of a run, or a name of the zoo")
        args.config_file = os.path.expanduser(args.opts.pop(0))
    return args


def command(main: Callable[Arguments, int]) -> Callable[Arguments, int]:
    """Decorate the main function of a tool, so that user errors are reported without a traceback.

    Our own errors, files and folders that cannot be used, and a full standard output are reported
    in one line on standard error, with exit code 2. If standard output is closed, as by ``| head``,
    the tool ends silently. Before ``main``, huge pages and the reuse of freed memory
    are switched on, and the number of torch threads is set, unless only help is asked for.
    """

    @functools.wraps(main)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> int:
        prefer_huge_pages()
        keep_freed_memory()
        given = args[0] if args and isinstance(args[0], list) else sys.argv
        if not {"-h", "--help"} & set(given):
            set_threads()
        with _tolerant_output():
            try:
                code = _code_of(main, *args, **kwargs)
            except SystemExit as stop:  # argparse, after its help or an error
                _check_stdout(stop)
                raise
            failure = _stdout_failure()
            return code if failure is None else _report_stdout(failure)

    return run


def show(text: str) -> None:
    """Print text that may contain names from data; control characters are escaped."""
    print(printable_lines(text), flush=True)


def _code_of(
    main: Callable[Arguments, int], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> int:
    """Return the exit code of ``main``, or that of its error."""
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
    """Change the exit code if the output cannot be written."""
    failure = _stdout_failure()
    if failure is not None:
        stop.code = _report_stdout(failure)


def _stdout_failure(text: str = "") -> OSError | None:
    """Flush standard output after writing ``text``; return the error if that fails."""
    if sys.stdout is None:  # closed before the start
        return None
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        return error
    return None


def discard_unread_output() -> None:
    """Drop buffered output that cannot be written; Python would report it at exit."""
    if _stdout_failure() is None:
        return
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except io.UnsupportedOperation:  # no file at all, such as a test's
        return


def _report_stdout(failure: OSError) -> int:
    """Report a full standard output in one line, a closed one not at all."""
    discard_unread_output()
    if isinstance(failure, BrokenPipeError):
        return READER_GONE
    print(f"error: standard output: {failure.strerror}", file=sys.stderr, flush=True)
    return USER_ERROR


def sigterm_as_exit() -> AbstractContextManager[None]:
    """Turn SIGTERM into SystemExit within the block, so that open result files are completed."""
    return handled_by(lambda number, _: sys.exit(128 + number), [signal.SIGTERM])


@contextmanager
def _tolerant_output() -> Iterator[None]:
    """Escape characters that standard output cannot encode; hide tracebacks of failed log writes.

    A training continues when its standard output is closed: it writes a log file, too.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
    before = logging.raiseExceptions
    logging.raiseExceptions = False
    try:
        yield
    finally:
        logging.raiseExceptions = before
