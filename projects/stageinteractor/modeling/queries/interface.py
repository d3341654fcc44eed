"""What a decoder begins with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from ..decoders.cascade import DecoderOutput


class Queries(NamedTuple):
    """Initial queries of B images; only queries predicted from the images have more than two."""

    content: Tensor  # (B, N, D)
    boxes: Tensor  # (B, N, 4) xyzr pixels, without gradient
    query_mask: Tensor | None = None  # (B, N) bool: True for real queries; None if none is padding
    proposals: DecoderOutput | None = None  # predicted before the decoder: its first stages
    losses: Mapping[str, Tensor] | None = None  # in training, weighted
    dn_gt_indices: Tensor | None = None  # (B, M) long: gt box of the last M queries, -1 for padding
    attn_mask: Tensor | None = None  # (B, N, N) bool: row sees column; None: row sees real queries
