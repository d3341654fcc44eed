"""What every neck checks about the maps it is given."""

from __future__ import annotations

from collections.abc import Sequence


def check_levels(in_channels: Sequence[int], in_features: Sequence[str]) -> None:
    """Raise ValueError unless there is a number of channels for every map."""
    if len(in_channels) != len(in_features):
        raise ValueError(
            f"in_channels {tuple(in_channels)} and in_features {tuple(in_features)} "
            "must have the same length"
        )
