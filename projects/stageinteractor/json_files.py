"""Read the JSON files that a run leaves: what is no such file is an error in one line.

A file may have been cut off, edited or replaced, and be anything: a folder, bytes that are no text,
brackets nested a million deep, a number of 5,000 digits.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from typing import Any, TypeVar

from .data.text_files import read_text
from .errors import DataError
from .regular_files import GIB

Kind = TypeVar("Kind", dict[str, Any], list[Any])
LIMIT = 8 * GIB
KINDS: dict[type, str] = {dict: "an object", list: "a list", str: "a text", type(None): "null"}


def read_json(
    path: str | os.PathLike[str], kind: type[Kind], advice: str, expected: str = ""
) -> Kind:
    """Return what a JSON file holds.

    Args:
        path: of the file.
        kind: ``dict`` or ``list``.
        advice: what to do about a file that cannot be used, such as "run the evaluation again".
        expected: words for the content in a message, such as "a list of detections".

    Raises:
        DataError: there is no such file, it cannot be read, is not JSON, or holds another kind; the
            message ends with the advice.
    """
    try:
        content = parse_json(read_text(path, LIMIT))
    except DataError as error:
        raise DataError(f"{error}; {advice}") from error
    except ValueError as error:
        raise DataError(f"{os.fspath(path)}: not JSON: {error}; {advice}") from error
    if not isinstance(content, kind):
        difference = f"expected {expected or KINDS[kind]}, got {kind_of(content)}"
        raise DataError(f"{os.fspath(path)}: {difference}; {advice}")
    return content


def read_json_lines(
    path: str | os.PathLike[str], advice: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield number, from 1, and content of the lines of a file with an object on each.

    Raises:
        DataError: there is no such file, it cannot be read, or a line is no JSON object.
    """
    name = os.fspath(path)
    try:
        lines = read_text(path, LIMIT).rstrip("\n").split("\n")
    except DataError as error:
        raise DataError(f"{error}; {advice}") from error
    for number, line in enumerate(lines, start=1):
        try:
            content = parse_json(line)
        except ValueError as error:
            raise DataError(f"{name}, line {number}: not JSON: {error}; {advice}") from error
        if not isinstance(content, dict):
            expected = f"expected an object, got {kind_of(content)}"
            raise DataError(f"{name}, line {number}: {expected}; {advice}")
        yield number, content


def parse_json(text: str) -> Any:
    """Return what a text stands for in JSON.

    Raises:
        ValueError: nothing, or lists and objects nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def is_value(value: Any) -> bool:
    """Tell whether a value is a number that a double can hold; NaN and infinities are."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        math.isfinite(value)
    except OverflowError:
        return False
    return True


def kind_of(value: Any) -> str:
    """Return the words for the kind of a JSON value."""
    return KINDS.get(type(value), "true or false" if isinstance(value, bool) else "a number")
