"""Matplotlib figures without a display, saved atomically."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..files import atomic_path
from ..printable_text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 110


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches, with constrained layout."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def literal_text(text: str) -> str:
    """Return a user's text so that matplotlib shows it literally.

    "$" starts no formula, and a leading "_" does not hide it from a legend.
    """
    text = printable(text).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def save_figure(figure: Figure, path: str | Path) -> None:
    """Save a figure at 110 dpi in the format of the suffix."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI)
