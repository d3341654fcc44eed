"""The decoder: stages in order, and the filter bank that runs through them.

In: feature maps and initial queries. Out: logits and boxes of every stage. Boxes are detached
between stages; content and filters are not, so gradients flow through the stages. Paper: section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .attention import OverlapAttention
from .box_coding import xyzr_to_xyxy
from .mixing import EMPTY_BANK, DynamicMixing
from .reuse import ChannelReuse, StaticMixing
from .sampling import Features, GroupedSampler
from .stage import DecoderStage, StageOutput
from .table_sampling import as_table


class DecoderOutput(NamedTuple):
    """Predictions of all S stages."""

    logits: Tensor  # (S, B, N, C)
    boxes: Tensor  # (S, B, N, 4), xyxy pixels
    boxes_xyzr: Tensor  # (S, B, N, 4), the same boxes as (x, y, z, r)
    content: Tensor  # (S, B, N, D)
    valid: Tensor | None = None  # (B, N) bool: queries that are no padding; None if all are none

    @property
    def masks(self) -> tuple[Tensor, ...]:
        """The mask as a last argument, none where no query is padding."""
        return () if self.valid is None else (self.valid,)


class CascadeDecoder(nn.Module):
    """Stages in order; each gets what the one before it made.

    Args:
        stages: the stages.
        num_classes: C.
        checkpoint_stages: in training, keep only what stages hand on, and run each stage again
            for its backward pass: less memory, more time, the same results.
    """

    def __init__(
        self, stages: Iterable[nn.Module], num_classes: int, checkpoint_stages: bool = False
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        if not self.stages:
            raise ValueError("num_stages must be at least 1")
        self.num_classes = num_classes
        self.checkpoint_stages = checkpoint_stages

    def forward(
        self,
        features: Sequence[Tensor],
        content: Tensor,
        boxes: Tensor,
        valid: Tensor | None = None,
        visible: Tensor | None = None,
    ) -> DecoderOutput:
        """Decode initial queries.

        Args:
            features: L maps (B, D, H_l, W_l).
            content: (B, N, D).
            boxes: (B, N, 4) xyzr in pixels of the input image.
            valid: (B, N) bool: queries that are no padding; all, where it is None.
            visible: (B, N, N) bool: the queries that every query (row) sees; those that are no
                padding, where it is None.
        """
        masks = stage_masks(valid, visible)
        maps = self.maps(features, boxes)
        outputs: list[StageOutput] = []
        bank = EMPTY_BANK
        for stage in self.stages:
            outputs.append(self.run_stage(stage, maps, content, boxes, bank, *masks))
            _, boxes, content, bank, maps = outputs[-1]
            boxes = boxes.detach()
        return stacked(outputs, valid)

    def maps(self, features: Sequence[Tensor], boxes: Tensor) -> Features:
        """Return the maps in the form in which stages read them fastest."""
        return as_table(features, boxes.dtype) or features

    def run_stage(self, stage: nn.Module, *inputs: Any) -> StageOutput:
        """Run a stage, in training again for its backward pass if stages are checkpointed."""
        if self.checkpoint_stages and self.training:
            # a stage draws no random numbers whose state would have to be brought back
            return checkpoint(stage, *inputs, use_reentrant=False, preserve_rng_state=False)
        return stage(*inputs)


def stage_masks(valid: Tensor | None, visible: Tensor | None) -> tuple[Tensor, ...]:
    """Return the mask as a stage's last argument, none where all queries see each other."""
    mask = valid if visible is None else visible
    return () if mask is None else (mask,)


def stacked(outputs: Sequence[StageOutput], valid: Tensor | None) -> DecoderOutput:
    """Return the predictions of stages together."""
    boxes_xyzr = torch.stack([output.boxes_xyzr for output in outputs])
    return DecoderOutput(
        logits=torch.stack([output.logits for output in outputs]),
        boxes=xyzr_to_xyxy(boxes_xyzr),
        boxes_xyzr=boxes_xyzr,
        content=torch.stack([output.content for output in outputs]),
        valid=valid,
    )


def chained(first: DecoderOutput, second: DecoderOutput) -> DecoderOutput:
    """Return the stages of the first, then those of the second, which have the same queries."""
    return DecoderOutput(
        logits=torch.cat([first.logits, second.logits]),
        boxes=torch.cat([first.boxes, second.boxes]),
        boxes_xyzr=torch.cat([first.boxes_xyzr, second.boxes_xyzr]),
        content=torch.cat([first.content, second.content]),
        valid=second.valid,
    )


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
        sampler: what is built to place points and sample at them.
        cascade: what is built to mix the channels again from ``first_reuse_stage`` on.
        static_mixing: what is built between two of these mixings.
        checkpoint_stages: as of `CascadeDecoder`.
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
        sampler: Callable[..., nn.Module] = GroupedSampler,
        cascade: Callable[..., nn.Module] = ChannelReuse,
        static_mixing: Callable[..., nn.Module] = StaticMixing,
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
                    attention=OverlapAttention(embed_dim=embed_dim, num_heads=num_heads),
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
        super().__init__(stages, num_classes, checkpoint_stages)
