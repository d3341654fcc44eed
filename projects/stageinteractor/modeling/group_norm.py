"""GroupNorm that also accepts groups of a single value."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GroupNorm(nn.GroupNorm):
    """`nn.GroupNorm` without its error for groups of one value, which become the bias.

    The coarsest map of a 32 x 32 image has such groups if there are as many groups as channels.
    torch's check compares the size of the map with 1, which an exported graph for images of every
    size cannot contain.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, D, ...)."""
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)
