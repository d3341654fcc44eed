"""Counts of the faults that tests have tried; the end of a test run lists them."""

from __future__ import annotations

from collections import Counter

counts: Counter[str] = Counter()


def count_fault(kind: str, number: int = 1) -> None:
    """Count faults of a kind, such as "bad image" or "kill", that were handled."""
    counts[kind] += number
