"""torch's GroupNorm, also where a group is a single value."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GroupNorm(nn.GroupNorm):
    """`nn.GroupNorm` without its refusal of groups of one value, which become the bias.

    That is what the coarsest map of a 32 x 32 image has with as many groups as channels. To refuse
    it torch compares the map's size with 1, which no graph for images of every size can hold.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, D, ...)."""
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)
