"""Errors that a user can cause and fix.

A message is one line: what is wrong, where (file, image id, annotation id or config key) and how to
fix it. The commands print that line without a traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from textwrap import shorten

from .printable_text import printable


class StageInteractorError(Exception):
    """Base of all errors that the input causes, not the program."""


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
    """Return the message of an error in one line, also of one from a data-loading process.

    torch puts the traceback of such an error into its message, of which only the last line is kept.
    Control characters, such as an escape sequence in a file name, are escaped.
    """
    text = str(error).strip() or type(error).__name__
    if "Traceback" in text:
        text = text.splitlines()[-1]
        text = text.removeprefix(f"{type(error).__module__}.{type(error).__name__}: ")
    return printable(" ".join(text.split()))


def first_lines(error: BaseException, limit: int = 400) -> str:
    """Return the first lines of an error's message in one line, for a list that may be long.

    Lines are kept whole. Only the first two, a heading and its first entry, are cut at a word if
    they are longer than ``limit``.
    """
    lines = [printable(" ".join(line.split())) for line in str(error).strip().splitlines()]
    text = shorten(" ".join(lines[:2]), limit, placeholder=" ...")
    for line in lines[2:]:
        if len(text) + len(line) >= limit:
            return text if text.endswith(" ...") else f"{text} ..."
        text = f"{text} {line}"
    return text


def nearest(name: str, names: Collection[str]) -> list[str]:
    """Return up to three of the names that are most like ``name``, for a message."""
    return difflib.get_close_matches(name, names, n=3, cutoff=0.4) or sorted(names)[:3]
