"""Optional masks are passed as keywords, and only if there are any."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def not_none(**masks: Tensor | None) -> dict[str, Any]:
    """Return the masks that are not None, as keyword arguments.

    A custom matcher, attention or postprocessing thus needs the argument only for padded queries.
    """
    return {name: mask for name, mask in masks.items() if mask is not None}
