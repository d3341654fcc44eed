"""What a process of several tells when it fails, and which of several failures came first.

When one process ends, the others lose their connection to it and fail too: they follow.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

import torch.distributed as dist

from ..errors import StageInteractorError, one_line
from .stopping import SIGNALS

STOPPED = tuple(128 + number for number in SIGNALS)  # exit codes of a stop that was asked for


@dataclass(frozen=True)
class Failure:
    """Why a process has ended.

    Args:
        rank: of the process.
        text: one line, or a traceback.
        code: exit code; 2 for what the input caused.
        follows: another process, which is gone, is the cause.
        time: in seconds since the epoch.
    """

    rank: int
    text: str
    code: int = 1
    follows: bool = False
    time: float = 0.0

    @classmethod
    def of(cls, error: BaseException, rank: int) -> Failure | None:
        """Describe what ended a process; None for a stop that was asked for, or no error."""
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
                text = "".join(traceback.format_exception(each)).rstrip()
                return cls(rank, text, time=now)
        if isinstance(error, SystemExit):
            told = error.code if isinstance(error.code, str) else f"ended with exit code {code}"
            return cls(rank, told, code if isinstance(code, int) else 1, time=now)
        text = "".join(traceback.format_exception(error)).rstrip()
        return cls(rank, text, follows=True, time=now)

    @property
    def is_traceback(self) -> bool:
        """Whether the text has more than one line."""
        return "\n" in self.text


def tell(failures: list[Failure], num_processes: int) -> str:
    """Return the message about the first of some failures, that of all processes if it is."""
    cause = first(failures)
    if cause.code == 2 and sum(each.text == cause.text for each in failures) == num_processes:
        return f"error: {cause.text}"
    name = f"error: rank {cause.rank} of {num_processes}"
    if not cause.is_traceback:
        return f"{name}: {cause.text}"
    lost = "; it lost the connection to another process: the cause may be on another machine"
    return f"{cause.text}\n{name} failed, see above{lost if cause.follows else ''}"


def first(failures: list[Failure]) -> Failure:
    """Return the failure that is the cause of the others."""
    return min(failures, key=lambda each: (each.follows, each.time))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Go from an error to those during whose handling it was raised."""
    each: BaseException | None = error
    while each is not None:
        yield each
        each = each.__cause__ or each.__context__


def lost_connection(error: BaseException) -> bool:
    """Whether this is an error of communication; gloo's have no class of their own."""
    is_gloo = isinstance(error, RuntimeError) and "gloo/" in str(error)
    return is_gloo or isinstance(error, dist.DistError)
