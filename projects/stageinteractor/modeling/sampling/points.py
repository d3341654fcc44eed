"""Grouped 3D sampling: every query reads the feature maps at points predicted from its content.

In: maps of all levels, content after attention (B, N, D), boxes (B, N, 4) xyzr. Out: features
(B, N, G, P, Dc). A point has a position and a scale; first-level offsets place K groups of points
for each channel group, second-level offsets place J points in each, P = K J, k-major. Paper:
section 3.3, code 2 and appendix J; x scales with the box's width and y with its height, and the
second level is shared by the channel groups, as in the published code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from ..box_coding import box_sizes
from .dispatch import Features, Sampler, sample

LEVEL_TEMPERATURE = 2.0  # of the softmax over levels
FIRST_LEVEL_SCALE = 3.0  # a point of scale 2 ** 3 lies on the first level


class GroupedSamplerType(Protocol):
    """A class of samplers with P = K J points, as `GroupedSampler`."""

    def __call__(
        self,
        *,
        embed_dim: int,
        num_groups: int,
        point_groups: int,
        points_per_group: int,
        strides: Sequence[int],
    ) -> Sampler:
        """Build the sampler; arguments as in `GroupedSampler`."""


class GroupedSampler(nn.Module):
    """Place points around the query's box and sample all levels at them.

    Args:
        embed_dim: D.
        num_groups: G channel groups; each sees its own Dc = D / G channels of the maps.
        point_groups: K, first-level points of a channel group.
        points_per_group: J, second-level points of each of them.
        strides: of the feature maps, in pixels.
    """

    def __init__(
        self,
        *,
        embed_dim: int = 256,
        num_groups: int = 4,
        point_groups: int = 4,
        points_per_group: int = 8,
        strides: Sequence[int] = (4, 8, 16, 32),
    ) -> None:
        super().__init__()
        self.num_groups = num_groups
        self.point_groups = point_groups
        self.points_per_group = points_per_group
        self.strides = tuple(strides)
        self.first_offsets = nn.Linear(embed_dim, 3 * num_groups * point_groups)
        self.second_offsets = nn.Linear(embed_dim, 3 * points_per_group)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Zero weights; biases spread the points over the box.

        The first point of each group coincides with its first-level point.
        """
        for layer, bound in ((self.first_offsets, 0.5), (self.second_offsets, 0.5 / 2**0.5)):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
            nn.init.uniform_(layer.bias.data.view(-1, 3)[:, :2], -bound, bound)
        self.second_offsets.bias.data[:2] = 0.0

    def forward(
        self, features: Features, content: Tensor, boxes_xyzr: Tensor
    ) -> tuple[Tensor, Features]:
        """Return sampled features (B, N, G, P, Dc), and the same features for the next call."""
        points = self.points(content, boxes_xyzr)
        weights = level_weights(points[..., 2], len(self.strides))
        return sample(features, points[..., :2], weights, self.strides)

    def points(self, content: Tensor, boxes_xyzr: Tensor) -> Tensor:
        """Return points (B, N, G, P, 3): x and y in pixels, z the log2 of the scale."""
        images, queries, _ = content.shape
        shape = self.num_groups, self.point_groups
        first = self.first_offsets(content).view(images, queries, *shape, 1, 3)
        second = self.second_offsets(content).view(images, queries, 1, 1, -1, 3)
        first, second = first.to(boxes_xyzr.dtype), second.to(boxes_xyzr.dtype)
        box = boxes_xyzr.view(images, queries, 1, 1, 1, 4)
        offsets = (
            first[..., :2] + torch.exp2(first[..., 2:]) * second[..., :2]
        )  # (B, N, G, K, J, 2)
        position = box[..., :2] + box_sizes(box) * offsets
        scale = box[..., 2:3] + first[..., 2:] + second[..., 2:]  # (B, N, G, K, J, 1)
        return torch.cat([position, scale], dim=-1).flatten(3, 4)


def level_weights(scales: Tensor, num_levels: int) -> Tensor:
    """Return weights (..., L) that sum to one: a Gaussian around the level of each scale (...).

    Levels come first in memory: CPUs are slow at softmax over a few numbers side by side.
    """
    levels = torch.arange(num_levels, dtype=scales.dtype, device=scales.device)
    distance = (scales - FIRST_LEVEL_SCALE - levels.view(-1, *[1] * scales.dim())) ** 2
    return torch.softmax(-distance / LEVEL_TEMPERATURE, dim=0).movedim(0, -1)
