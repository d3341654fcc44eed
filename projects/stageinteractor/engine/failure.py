"""Why a worker process has failed, and which of several failures is the root cause.

When one worker ends, the others lose their connection to it and fail too, as a consequence.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

import torch.distributed as dist

from ..errors import StageInteractorError, one_line
from .stopping import SIGNALS

STOPPED = tuple(128 + number for number in SIGNALS)  # exit codes of a stop on a signal


@dataclass(frozen=True)
class Failure:
    """Why a worker has ended; it can be pickled.

    Args:
        text: one line, or a traceback.
        code: exit code; 2 for an error that the input caused.
        is_consequence: the cause is another worker, to which the connection was lost.
        time: in seconds since the epoch.
    """

    rank: int
    text: str
    code: int = 1
    is_consequence: bool = False
    time: float = 0.0

    @classmethod
    def of(cls, error: BaseException, rank: int) -> Failure | None:
        """Describe the error that ended a worker; None for a stop on a signal, or exit code 0."""
        if isinstance(error, KeyboardInterrupt):
            return None
        code = error.code if isinstance(error, SystemExit) else 1
        if code in (None, 0, *STOPPED):
            return None
        now = time.time()
        for each in _chain(error):
            if isinstance(each, StageInteractorError):
                return cls(rank, one_line(each), 2, time=now)
            if not isinstance(each, SystemExit) and not lost_connection(each):
                return cls(rank, _traceback(each), time=now)
        if isinstance(error, SystemExit):
            text = error.code if isinstance(error.code, str) else f"ended with exit code {code}"
            return cls(rank, text, code if isinstance(code, int) else 1, time=now)
        return cls(rank, _traceback(error), is_consequence=True, time=now)


def failure_message(failures: list[Failure], num_processes: int) -> str:
    """Return the message about the root cause; without a rank if all workers report the same."""
    cause = root_cause(failures)
    if cause.code == 2 and sum(each.text == cause.text for each in failures) == num_processes:
        return f"error: {cause.text}"
    name = f"error: rank {cause.rank} of {num_processes}"
    if "\n" not in cause.text:  # no traceback
        return f"{name}: {cause.text}"
    lost = "; it lost the connection to another process: the cause may be on another machine"
    return f"{cause.text}\n{name} failed, see above{lost if cause.is_consequence else ''}"


def root_cause(failures: list[Failure]) -> Failure:
    """Return the failure that caused the others: the first that is not a consequence."""
    return min(failures, key=lambda failure: (failure.is_consequence, failure.time))


def lost_connection(error: BaseException) -> bool:
    """Return whether this is a communication error; gloo's have no class of their own."""
    is_gloo = isinstance(error, RuntimeError) and "gloo/" in str(error)
    return is_gloo or isinstance(error, dist.DistError)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, then the errors during whose handling it was raised."""
    each: BaseException | None = error
    while each is not None:
        yield each
        each = each.__cause__ or each.__context__


def _traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)).rstrip()
