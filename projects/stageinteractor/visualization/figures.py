"""Figures of matplotlib: made without a window, saved whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..files import atomic_path
from ..printable_text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 110


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches, whose parts make room for each other."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def as_written(text: str) -> str:
    """Return a text of the user's so that matplotlib writes it.

    It takes no part of it as a formula, and leaves no name that begins with "_" out of a legend.
    """
    text = printable(text).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def save_figure(figure: Figure, path: str | Path) -> None:
    """Save a figure with 110 pixels an inch; the suffix names the format."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI)
