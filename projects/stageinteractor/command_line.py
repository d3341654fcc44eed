"""What every tool in ``tools/`` does around its work, such as about input that it cannot use."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

from .errors import StageInteractorError, one_line
from .memory import prefer_huge_pages

Arguments = ParamSpec("Arguments")


def told_in_one_line(main: Callable[Arguments, int]) -> Callable[Arguments, int]:
    """Let the main function of a tool tell what its input caused, without a traceback.

    That is our own errors, and files and folders that cannot be used. The exit code is then 2.
    Before that, torch is told how to take its memory.
    """

    @functools.wraps(main)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> int:
        prefer_huge_pages()
        try:
            return main(*args, **kwargs)
        except StageInteractorError as error:
            reason = one_line(error)
        except OSError as error:  # such as an output folder that cannot be written to
            if error.filename is None:
                raise
            reason = f"{error.filename}: {error.strerror}"
        print(f"error: {reason}", file=sys.stderr, flush=True)
        return 2

    return run
