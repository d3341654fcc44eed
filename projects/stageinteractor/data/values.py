"""What a value of an annotation file can be used as: JSON holds more than numbers and texts."""

from __future__ import annotations

import math
from pathlib import PureWindowsPath
from typing import Any


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number, also as a float (some integers are not)."""
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:
        return False


def is_windows_path(name: str) -> bool:
    r"""Return whether a file name is a path of Windows, such as ``a\b.png`` or ``C:/a/b.png``."""
    return "\\" in name or PureWindowsPath(name).is_absolute()


def is_writable(value: Any) -> bool:
    """Return whether a value as text can be written: JSON can hold halves of a character."""
    try:
        str(value).encode()
    except UnicodeEncodeError:
        return False
    return True
