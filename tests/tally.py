"""How much was survived: tests count it here, and the end of a test run tells it."""

from __future__ import annotations

from collections import Counter

counts: Counter[str] = Counter()


def survived(what: str, number: int = 1) -> None:
    """Count something that did no harm, such as "bad image" or "kill"."""
    counts[what] += number
