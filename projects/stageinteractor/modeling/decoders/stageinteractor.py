"""StageInteractor's decoder: AdaMixer-like stages that reuse the filters of earlier stages.

Paper: section 3; `mixing.reuse` has the adapters, `mixing.dynamic` the filter bank that a stage
passes to the next one.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..attention import IoFBiasedSelfAttention
from ..mixing.dynamic import DynamicMixing
from ..mixing.reuse import ChannelReuse, ChannelReuseType
from ..mixing.static_mixing import StaticMixing, StaticMixingType
from ..sampling.points import GroupedSampler, GroupedSamplerType
from .cascade import CascadeDecoder
from .stage import DecoderStage


class StageInteractorDecoder(CascadeDecoder):
    """A cascade of decoder stages with cross-stage dynamic filter reuse.

    Args:
        num_stages: S.
        embed_dim: D, width of content and feature maps.
        num_groups: G channel groups.
        num_heads: attention heads.
        feedforward_dim: hidden width of the feed-forward networks.
        num_classes: C.
        point_groups: K of every stage; the first stage samples ``first_point_groups``.
        first_point_groups: K of the first stage (the paper's 64 points instead of 32).
        points_per_group: J; a stage samples P = K J points for each channel group.
        out_points: O, points that spatial mixing puts out.
        first_reuse_stage: index of the first stage that reuses filters; stage i >= it mixes with
            i - it + 1 earlier channel filters, those of stages it - 1 to i - 1. ``num_stages`` or
            None for no reuse at all. At least 2, because stage 0 may sample other points.
        strides: of the feature maps.
        sampler: the class that places points and samples at them.
        cascade: the class that mixes the channels again from ``first_reuse_stage`` on.
        static_mixing: the class of the static mixing between two channel mixings.
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
        point_groups: int = 4,
        first_point_groups: int = 8,
        points_per_group: int = 8,
        out_points: int = 128,
        first_reuse_stage: int | None = 2,
        strides: Sequence[int] = (4, 8, 16, 32),
        sampler: GroupedSamplerType = GroupedSampler,
        cascade: ChannelReuseType = ChannelReuse,
        static_mixing: StaticMixingType = StaticMixing,
        checkpoint_stages: bool = False,
    ) -> None:
        if first_reuse_stage is None:
            first_reuse_stage = num_stages
        if embed_dim % num_groups or out_points % 2:
            raise ValueError(
                f"embed_dim {embed_dim} must be a multiple of num_groups {num_groups}, "
                f"and out_points {out_points} must be even"
            )
        if first_reuse_stage < min(2, num_stages):
            raise ValueError(f"first_reuse_stage must be at least 2, got {first_reuse_stage}")
        stages = []
        for index in range(num_stages):
            groups = first_point_groups if index == 0 else point_groups
            sizes = dict(
                embed_dim=embed_dim,
                num_groups=num_groups,
                point_groups=groups,
                points_per_group=points_per_group,
            )
            reused = max(0, index - first_reuse_stage + 1)
            stages.append(
                DecoderStage(
                    attention=IoFBiasedSelfAttention(embed_dim=embed_dim, num_heads=num_heads),
                    sampler=sampler(**sizes, strides=strides),
                    mixing=DynamicMixing(
                        **sizes,
                        out_points=out_points,
                        num_reused=reused,
                        cascade=cascade,
                        static_mixing=static_mixing,
                    ),
                    embed_dim=embed_dim,
                    feedforward_dim=feedforward_dim,
                    num_classes=num_classes,
                )
            )
        super().__init__(stages, checkpoint_stages)
