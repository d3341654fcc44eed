"""What the queries of one training step learn: computed once, when first asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from torch import Tensor

from ..assigner.interface import Assigner
from ..assigner.targets import Target
from .matched_pairs import MatchedPairs


class Assignment:
    """Classes as an array, or as pairs of query and object: what the class loss asks for.

    Args:
        assigner: see `Assigner`.
        boxes: (S, B, N, 4), xyxy pixels, without gradient.
        matches: (S, B, N) long.
        targets: B dicts {"boxes": (T, 4) xyxy pixels, "labels": (T,)}.
        num_classes: C.
        image_sizes: (B, 2), (height, width).
        rank_queries: whether queries of one object are ranked.
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
    def positives(self) -> MatchedPairs:
        """The pairs of query and object behind the class targets."""
        objects = self.assigner.assigned_gt_indices(self.boxes, self.matches, self.targets)
        return self._positives(objects)

    @cached_property
    def own_matches(self) -> MatchedPairs:
        """The pairs that the box losses learn from: the stages' own matches."""
        return self._positives(self.matches.unsqueeze(-1))

    def _positives(self, objects: Tensor) -> MatchedPairs:
        known = self.boxes, self.matches, self.targets
        return MatchedPairs(objects, *known, self.rank_queries, self.image_sizes)

    def num_labels(self) -> Tensor:
        """Return (S,), the number of classes that queries learn, from what is there already."""
        if "class_targets" in self.__dict__:
            return self.class_targets.sum(dim=(1, 2, 3))
        return self.positives.valid.sum(dim=(1, 2, 3)).to(self.boxes.dtype)
