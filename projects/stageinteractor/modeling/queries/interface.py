"""What a decoder begins with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from ..decoder import DecoderOutput


class Queries(NamedTuple):
    """Initial queries of B images; all but the first two are of those found in the images."""

    content: Tensor  # (B, N, D)
    boxes: Tensor  # (B, N, 4) xyzr pixels, without gradient
    valid: Tensor | None = None  # (B, N) bool: those that are no padding; None if all are none
    proposals: DecoderOutput | None = None  # predicted before the decoder: its first stages
    losses: Mapping[str, Tensor] | None = None  # in training, weighted
