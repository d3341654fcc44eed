"""Would training have anything to learn from: it leaves images without objects out, also crowds."""

from __future__ import annotations

from collections.abc import Iterator

from .entries import Entries
from .findings import Finding


def check_trained_on(entries: Entries) -> Iterator[Finding]:
    """Yield a finding if there are objects, but only crowds, on which nothing is trained."""
    annotations = entries.annotations
    if annotations and all(annotation.get("iscrowd") for annotation in annotations):
        yield Finding("only_crowds", f"all {len(annotations)} objects are crowds")
