"""Masks are keywords, and only where there is something to mask."""

from __future__ import annotations

from torch import Tensor


def given(**masks: Tensor | None) -> dict[str, Tensor]:
    """Return the masks that are not None, as keyword arguments.

    So a matcher, attention or postprocessing of one's own needs to take a mask only if queries are
    padded.
    """
    return {name: mask for name, mask in masks.items() if mask is not None}
