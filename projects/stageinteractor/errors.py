"""Errors that a user can cause and can mend.

A message is one line that says what is wrong, where (file, image id, annotation id or config key)
and what to do. The command lines in ``tools/`` print that line without a traceback.
"""

from __future__ import annotations

from .printable_text import printable


class StageInteractorError(Exception):
    """Base of all errors that are the input's fault, not the program's."""


class ConfigError(StageInteractorError):
    """A configuration file, key or value cannot be used."""


class DataError(StageInteractorError):
    """A data set, annotation, image or weight file cannot be used."""


class OutputError(StageInteractorError):
    """A file or folder cannot be written."""


class NonFiniteLossError(StageInteractorError):
    """A loss, gradient or weight became NaN or infinite; no checkpoint holds such weights."""


class UnsupportedHostError(StageInteractorError):
    """Another project's criterion or model cannot be given the cross-stage assigner."""


class MissingDependencyError(StageInteractorError, ImportError):
    """An optional package is not installed; the message says how to install it."""


def one_line(error: BaseException) -> str:
    """Return the message of an error, also of one that crossed from a data-loading process.

    torch wraps such an error's whole traceback into its message; its last line says what happened.
    What a terminal would obey, such as an escape sequence in a file's name, is escaped.
    """
    text = str(error).strip() or type(error).__name__
    if "Traceback" in text:
        text = text.splitlines()[-1]
        text = text.removeprefix(f"{type(error).__module__}.{type(error).__name__}: ")
    return printable(" ".join(text.split()))
