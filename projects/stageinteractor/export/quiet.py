"""Hide messages of torch about its internals."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

LOGGERS = ("onnxscript", "onnx_ir", "torch.export", "torch.onnx")


@contextmanager
def quiet() -> Iterator[None]:
    """Hide warnings, log messages and standard error within the block.

    torch.export prints its whole incomplete graph to standard error before it raises an error.
    """
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
