"""The label assignment of one training step, in the two forms that class losses use."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from torch import Tensor

from ..assigner.interface import Assigner
from ..assigner.targets import Target
from .matched_pairs import MatchedPairs


class Assignment:
    """Class targets as an array, or as pairs of query and ground-truth box; computed when used.

    Args:
        assigner: see `Assigner`.
        boxes: (S, B, N, 4), xyxy pixels, without gradient.
        matches: (S, B, N) long.
        targets: B dicts {"boxes": (T, 4) xyxy pixels, "labels": (T,)}.
        num_classes: C.
        image_sizes: (B, 2), (height, width).
        rank_queries: whether queries of one ground-truth box are ranked.
    """

    def __init__(
        self,
        assigner: Assigner,
        boxes: Tensor,
        matches: Tensor,
        targets: Sequence[Target],
        num_classes: int,
        image_sizes: Tensor | None = None,
        rank_queries: bool = True,
    ) -> None:
        self.assigner = assigner
        self.boxes = boxes
        self.matches = matches
        self.targets = targets
        self.num_classes = num_classes
        self.image_sizes = image_sizes
        self.rank_queries = rank_queries

    @cached_property
    def class_targets(self) -> Tensor:
        """(S, B, N, C), 0 or 1."""
        return self.assigner(self.boxes, self.matches, self.targets, self.num_classes)

    @cached_property
    def label_pairs(self) -> MatchedPairs:
        """The pairs behind the class targets: one for every label of a query."""
        return self._pairs(
            self.assigner.assigned_gt_indices(self.boxes, self.matches, self.targets)
        )

    @cached_property
    def match_pairs(self) -> MatchedPairs:
        """The matches of every stage, which have the box losses."""
        return self._pairs(self.matches.unsqueeze(-1))

    def _pairs(self, gt_indices: Tensor) -> MatchedPairs:
        return MatchedPairs(
            gt_indices, self.boxes, self.matches, self.targets, self.rank_queries, self.image_sizes
        )
