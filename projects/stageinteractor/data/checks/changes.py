"""What a repair did: a list of changes, each of one kind at one place."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...printable_text import printable
from .findings import SET, Place


@dataclass(frozen=True)
class Change:
    """One change: what was done ("dropped", "clipped", ...), where, and in which way."""

    action: str
    detail: str
    place: Place = SET

    def line(self) -> str:
        """Return the change as one line: ``annotation id 7, image id 3 (a.png): ...``."""
        place = str(self.place)
        return printable(f"{place + ': ' if place else ''}{self.action}: {self.detail}")


@dataclass
class ChangeLog:
    """Collects changes in the order they are made."""

    changes: list[Change] = field(default_factory=list)

    def add(self, action: str, detail: str, place: Place = SET) -> None:
        """Note a change."""
        self.changes.append(Change(action, detail, place))
