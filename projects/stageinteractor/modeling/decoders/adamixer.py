"""AdaMixer, the baseline: the decoder without the contributions of the paper.

Unlike StageInteractor, a stage has no reuse, no static mixing and no dynamic biases; it places its
points by one level of offsets, and moves box centres in units of the scale 2^z. The parts
follow the published code. Source: Gao et al., "AdaMixer", CVPR 2022, sections 3.1 to 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..attention import IoFBiasedSelfAttention
from ..box_coding import box_sizes, refine_boxes_by_scale
from ..mixing.dynamic import EMPTY_BANK, FilterBank
from ..mixing.ops import joint_norm_relu
from ..sampling.dispatch import Features, sample
from ..sampling.points import FIRST_LEVEL_SCALE, GroupedSampler, level_weights
from .cascade import CascadeDecoder
from .stage import DecoderStage


class PlainSampler(nn.Module):
    """Place P points for each channel group by one layer of offsets, and sample all levels there.

    Args:
        embed_dim: D.
        num_groups: G channel groups.
        points: P.
        strides: of the feature maps, in pixels.
    """

    def __init__(
        self,
        *,
        embed_dim: int = 256,
        num_groups: int = 4,
        points: int = 32,
        strides: Sequence[int] = (4, 8, 16, 32),
    ) -> None:
        super().__init__()
        self.shape = num_groups, points, 3
        self.strides = tuple(strides)
        self.offsets = nn.Linear(embed_dim, num_groups * points * 3)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise points spread over the box, on a grid if P is a square, one level finer."""
        nn.init.zeros_(self.offsets.weight)
        bias = self.offsets.bias.data.view(self.shape)
        nn.init.uniform_(bias, -0.5, 0.5)
        side = math.isqrt(self.shape[1])
        if side * side == self.shape[1]:
            line = (torch.arange(side) + 0.5) / side - 0.5
            first, second = torch.meshgrid(line, line, indexing="ij")
            bias[..., :2] = torch.stack([first, second], dim=-1).flatten(0, 1)
        bias[..., 2] = -1.0

    def forward(
        self, features: Features, content: Tensor, boxes_xyzr: Tensor
    ) -> tuple[Tensor, Features]:
        """Return sampled features (B, N, G, P, Dc), and the same features for the next call."""
        offsets = self.offsets(content).unflatten(-1, self.shape).to(boxes_xyzr.dtype)
        box = boxes_xyzr[:, :, None, None]  # (B, N, 1, 1, 4)
        positions = box[..., :2] + box_sizes(box) * offsets[..., :2]  # (B, N, G, P, 2)
        # in AdaMixer a point of scale 2 ** 2, not 2 ** 3, lies on the level of stride 4
        scales = box[..., 2] + offsets[..., 2] + (FIRST_LEVEL_SCALE - 2.0)
        weights = level_weights(scales, len(self.strides))  # (B, N, G, P, L)
        return sample(features, positions, weights, self.strides)


class VanillaSampler(PlainSampler):
    """AdaMixer's sampler in StageInteractor's decoder (an ablation): all points at once.

    Args:
        embed_dim: D.
        num_groups: G.
        point_groups: K; P = K J.
        points_per_group: J.
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
        points = point_groups * points_per_group
        self.point_groups = point_groups
        super().__init__(embed_dim=embed_dim, num_groups=num_groups, points=points, strides=strides)


class GroupInitialisedSampler(VanillaSampler):
    """`VanillaSampler` with the initial points of the two-level sampler (an ablation)."""

    def reset_parameters(self) -> None:
        """Initialise as `VanillaSampler`, with the points of `GroupedSampler`."""
        super().reset_parameters()
        num_groups, points, _ = self.shape
        two_levels = GroupedSampler(
            embed_dim=self.offsets.in_features,
            num_groups=num_groups,
            point_groups=self.point_groups,
            points_per_group=points // self.point_groups,
        )
        first = two_levels.first_offsets.bias.data.view(num_groups, self.point_groups, 1, 3)
        second = two_levels.second_offsets.bias.data.view(1, 1, -1, 3)
        initial = (first + second).flatten(1, 2)
        self.offsets.bias.data.view(self.shape)[..., :2] = initial[..., :2]


class PlainMixing(nn.Module):
    """Mix channels, then points, by filters generated from the query.

    Args:
        embed_dim: D.
        num_groups: G channel groups of width Dc = D / G.
        points: P.
        out_points: O.
    """

    def __init__(
        self,
        *,
        embed_dim: int = 256,
        num_groups: int = 4,
        points: int = 32,
        out_points: int = 128,
    ) -> None:
        super().__init__()
        self.width = width = embed_dim // num_groups
        self.filter_shape = out_points, points
        self.filters = nn.Linear(embed_dim, num_groups * (width * width + out_points * points))
        self.out_proj = nn.Linear(num_groups * out_points * width, embed_dim)
        nn.init.zeros_(self.filters.weight)
        nn.init.xavier_uniform_(self.out_proj.weight)

    def forward(
        self, sampled: Tensor, content: Tensor, bank: FilterBank
    ) -> tuple[Tensor, FilterBank]:
        """Return the mixed features (B, N, D) of (B, N, G, P, Dc), and an empty bank."""
        x = sampled.flatten(0, 2)  # (B*N*G, P, Dc)
        filters = self.filters(content).view(x.shape[0], -1)
        area = self.width * self.width
        channel = filters[:, :area].unflatten(1, (self.width, self.width))  # (B*N*G, Dc, Dc)
        spatial = filters[:, area:].unflatten(1, self.filter_shape)  # (B*N*G, O, P)
        y = joint_norm_relu(spatial @ joint_norm_relu(x @ channel))  # (B*N*G, O, Dc)
        return self.out_proj(y.view(*content.shape[:2], -1)), EMPTY_BANK


class AdaMixerStage(DecoderStage):
    """One stage of AdaMixer.

    Args:
        embed_dim: D.
        num_groups: G.
        num_heads: attention heads.
        feedforward_dim: hidden width of the feed-forward network.
        num_classes: C.
        points: P.
        out_points: O.
        strides: of the feature maps.
    """

    def __init__(
        self,
        *,
        embed_dim: int = 256,
        num_groups: int = 4,
        num_heads: int = 8,
        feedforward_dim: int = 2048,
        num_classes: int = 80,
        points: int = 32,
        out_points: int = 128,
        strides: Sequence[int] = (4, 8, 16, 32),
    ) -> None:
        if embed_dim % num_groups:
            raise ValueError(f"embed_dim {embed_dim} must be a multiple of num_groups {num_groups}")
        sizes = dict(embed_dim=embed_dim, num_groups=num_groups, points=points)
        super().__init__(
            attention=IoFBiasedSelfAttention(embed_dim=embed_dim, num_heads=num_heads),
            sampler=PlainSampler(**sizes, strides=strides),
            mixing=PlainMixing(**sizes, out_points=out_points),
            embed_dim=embed_dim,
            feedforward_dim=feedforward_dim,
            num_classes=num_classes,
            refine=refine_boxes_by_scale,
        )


class AdaMixerDecoder(CascadeDecoder):
    """AdaMixer's stages in order; the other arguments are those of `AdaMixerStage`.

    Args:
        num_stages: S.
        checkpoint_stages: as in `CascadeDecoder`.
    """

    def __init__(
        self,
        *,
        num_stages: int = 6,
        embed_dim: int = 256,
        num_groups: int = 4,
        num_heads: int = 8,
        feedforward_dim: int = 2048,
        num_classes: int = 80,
        points: int = 32,
        out_points: int = 128,
        strides: Sequence[int] = (4, 8, 16, 32),
        checkpoint_stages: bool = False,
    ) -> None:
        stages = [
            AdaMixerStage(
                embed_dim=embed_dim,
                num_groups=num_groups,
                num_heads=num_heads,
                feedforward_dim=feedforward_dim,
                num_classes=num_classes,
                points=points,
                out_points=out_points,
                strides=strides,
            )
            for _ in range(num_stages)
        ]
        super().__init__(stages, checkpoint_stages)
