"""What a decoder begins with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from ..decoders.cascade import DecoderOutput


class Queries(NamedTuple):
    """Initial queries of B images; all but the first two are of those found in the images."""

    content: Tensor  # (B, N, D)
    boxes: Tensor  # (B, N, 4) xyzr pixels, without gradient
    valid: Tensor | None = None  # (B, N) bool: those that are no padding; None if all are none
    proposals: DecoderOutput | None = None  # predicted before the decoder: its first stages
    losses: Mapping[str, Tensor] | None = None  # in training, weighted
    known: Tensor | None = None  # (B, M) long: objects of the last M queries, -1 for padding
    visible: Tensor | None = None  # (B, N, N) bool: row sees column; None where `valid` tells all

    @property
    def masks(self) -> tuple[Tensor | None, ...]:
        """The masks that a decoder takes, as last arguments; none where it needs none."""
        if self.visible is None:
            return () if self.valid is None else (self.valid,)
        return self.valid, self.visible
