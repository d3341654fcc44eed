"""Rename parameters by pairs of patterns, in either direction."""

from __future__ import annotations

import re
from collections.abc import Sequence

Pairs = Sequence[tuple[str, str]]


def rename(name: str, pairs: Pairs, tail: str) -> str | None:
    """Return the new name of a parameter by the first pair that fits, None if none does.

    Args:
        name: such as "layer1.0.bn2.weight".
        pairs: old and new beginning of a name; ``{}`` in both stands for the same number.
        tail: regular expression of what may follow the beginning, and is kept.
    """
    for old, new in pairs:
        pattern = re.escape(old).replace(r"\{\}", r"(\d+)")
        match = re.fullmatch(f"{pattern}({tail})", name)
        if match:
            *numbers, rest = match.groups()
            return new.format(*numbers) + rest
    return None


def swapped(pairs: Pairs) -> Pairs:
    """Return the pairs for the other direction."""
    return [(new, old) for old, new in pairs]
