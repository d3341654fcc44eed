"""One-to-many matching by copies: the ground truth is repeated before the Hungarian matching.

Source: Align-DETR (Cai et al., BMVC 2024), "many-to-one matching": all stages but the last match
every ground-truth box to several queries.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from .matching import HungarianMatcher, solve


class CopiesMatcher(HungarianMatcher):
    """Match as `HungarianMatcher` does, with k copies of every ground-truth box.

    An image with T boxes and N queries has min(k, N // T) copies, at least one, so that a box is
    never left out in favour of another's copy (the released code does not reduce k).

    Args:
        cost_class, cost_bbox, cost_giou, alpha, gamma: see `HungarianMatcher`.
        copies: k, at all stages but the last.
        last_copies: k at the last stage.

    Raises:
        ValueError: a number of copies is below 1, or see `HungarianMatcher`.
    """

    def __init__(
        self,
        cost_class: float = 2.0,
        cost_bbox: float = 5.0,
        cost_giou: float = 2.0,
        alpha: float = 0.25,
        gamma: float = 2.0,
        copies: int = 2,
        last_copies: int = 1,
    ) -> None:
        super().__init__(cost_class, cost_bbox, cost_giou, alpha, gamma)
        if min(copies, last_copies) < 1:
            raise ValueError(
                f"copies and last_copies must be at least 1, got {copies} and {last_copies}"
            )
        self.copies = copies
        self.last_copies = last_copies

    def solve(self, costs: np.ndarray, counts: list[int], rows: np.ndarray | None) -> Tensor:
        """Return the matches (S, B, N) of costs (S, B, N, T)."""
        return solve(costs, counts, rows, [self.copies] * (len(costs) - 1) + [self.last_copies])
