"""The findings as text for a terminal and as JSON for other programs."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence

from tabulate import tabulate

from .dataset import CheckedSet
from .findings import KINDS, Finding, Json

SHOWN = 5  # findings or changes of a kind


def summary(checked: CheckedSet) -> str:
    """Return what the set holds, and a table of the kinds of problems."""
    held = (
        f"images: {checked.num_images} ({checked.num_empty_images} without objects), "
        f"objects: {checked.num_annotations} ({checked.num_crowds} crowds), "
        f"classes: {len(checked.class_counts)}"
    )
    if not checked.findings:
        return f"{held}\nno problems"
    rows = [[KINDS[kind].severity, KINDS[kind].name, len(g)] for kind, g in by_kind(checked)]
    return f"{held}\n\n{tabulate(rows, headers=['', 'problem', 'count'], tablefmt='simple')}"


def details(checked: CheckedSet, limit: int | None = SHOWN) -> Iterator[str]:
    """Yield the findings, a line each, under the name of their kind.

    Args:
        limit: at most so many of a kind; None for all.
    """
    for kind, group in by_kind(checked):
        yield f"{KINDS[kind].name} ({KINDS[kind].severity})"
        yield from limited([finding.line() for finding in group], limit)


def limited(lines: Sequence[str], limit: int | None) -> Iterator[str]:
    """Yield indented lines, and after ``limit`` of them how many more there are."""
    shown = list(lines if limit is None else lines[:limit])
    yield from (f"  {line}" for line in shown)
    if len(shown) < len(lines):
        yield f"  ... and {len(lines) - len(shown)} more (--all)"


def by_kind(checked: CheckedSet) -> list[tuple[str, list[Finding]]]:
    """Return the findings of every kind, in their order."""
    groups = itertools.groupby(checked.findings, key=lambda finding: finding.kind)
    return [(kind, list(group)) for kind, group in groups]


def as_json(checked: CheckedSet, json_file: str | os.PathLike[str], image_root: str) -> Json:
    """Return everything as one object: counts, classes, and every finding."""
    return {
        "json": str(json_file),
        "images": str(image_root),
        "num_images": checked.num_images,
        "num_empty_images": checked.num_empty_images,
        "num_annotations": checked.num_annotations,
        "num_crowds": checked.num_crowds,
        "class_counts": checked.class_counts,
        "num_errors": checked.num_errors,
        "num_warnings": checked.num_warnings,
        "counts": {kind: len(group) for kind, group in by_kind(checked)},
        "findings": [finding.as_json() for finding in checked.findings],
    }
