"""What a value of an annotation file can be used as: JSON holds more than numbers and texts."""

from __future__ import annotations

import math
from typing import Any


def is_number(value: Any) -> bool:
    """Tell whether a value is a finite number, also as a float (an integer of JSON may not be)."""
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:
        return False


def is_writable(value: Any) -> bool:
    """Tell whether a value as text can be written: JSON can hold halves of a character."""
    try:
        str(value).encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(text: str) -> str:
    """Return a text as one line that every terminal and file takes; the rest as its escapes."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
