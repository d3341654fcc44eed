"""Augmentations that detectron2 has no name for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from detectron2.data import transforms as T


class OneOf(T.Augmentation):
    """Apply one of several chains of augmentations, each with the same probability.

    DETR's training augmentation is a choice between a plain resize and resize, crop, resize.
    """

    def __init__(self, chains: Sequence[Sequence[T.Augmentation | T.Transform]]) -> None:
        super().__init__()
        self.chains = [T.AugmentationList(list(chain)) for chain in chains]

    def __call__(self, aug_input: T.AugInput) -> T.Transform:
        """Transform the input in place and return the transform that did it."""
        return self.chains[np.random.randint(len(self.chains))](aug_input)
