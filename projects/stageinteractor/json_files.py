"""Read the JSON files of a run; an invalid file is a DataError of one line.

A file may have been truncated, edited or replaced: it may be a folder, binary, nested a million
deep, or hold a number of 5,000 digits.
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
    """Return the content of a JSON file.

    Args:
        advice: end of an error message, such as "run the evaluation again".
        expected: name of the content in a message, such as "a list of detections".

    Raises:
        DataError: the file is missing, unreadable, not JSON, or of another type.
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
    """Yield line number, from 1, and object of a JSON Lines file.

    Raises:
        DataError: the file is missing or unreadable, or a line is no JSON object.
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
    """Return the value of a JSON text.

    Raises:
        ValueError: the text is not JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def is_metric_value(value: Any) -> bool:
    """Return whether a value is a number within the range of a float, or NaN or infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        math.isfinite(value)
    except OverflowError:
        return False
    return True


def kind_of(value: Any) -> str:
    """Return the name of a JSON value's type, for a message."""
    return KINDS.get(type(value), "true or false" if isinstance(value, bool) else "a number")
