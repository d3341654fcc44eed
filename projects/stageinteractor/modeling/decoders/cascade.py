"""A cascade of decoder stages: each refines the queries that the stage before hands on.

In: feature maps and initial queries. Out: logits and boxes of every stage. Boxes are detached
between stages; content and filters are not, so gradients flow through the stages. Paper: section 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..box_coding import xyzr_to_xyxy
from ..mixing.dynamic import EMPTY_BANK
from ..sampling.dispatch import Features, prepare_features
from .stage import StageOutput


class DecoderOutput(NamedTuple):
    """Predictions of all S stages."""

    logits: Tensor  # (S, B, N, C)
    boxes: Tensor  # (S, B, N, 4), xyxy pixels
    boxes_xyzr: Tensor  # (S, B, N, 4), the same boxes as (x, y, z, r)
    content: Tensor  # (S, B, N, D)
    query_mask: Tensor | None = None  # (B, N) bool: True for real queries; None if none is padding


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
        query_mask: Tensor | None = None,
        attn_mask: Tensor | None = None,
    ) -> DecoderOutput:
        """Decode initial queries.

        Args:
            features: L maps (B, D, H_l, W_l).
            content: (B, N, D).
            boxes: (B, N, 4) xyzr in pixels of the input image.
            query_mask: (B, N) bool: True for real queries; None if none is padding.
            attn_mask: (B, N, N) bool: whether a query (row) sees a query (column); None: every
                query sees the real ones.
        """
        attn_mask = stage_attn_mask(query_mask, attn_mask)
        maps = self.maps(features, boxes)
        outputs: list[StageOutput] = []
        bank = EMPTY_BANK
        for stage in self.stages:
            outputs.append(self.run_stage(stage, maps, content, boxes, bank, attn_mask))
            _, boxes, content, bank, maps = outputs[-1]
            boxes = boxes.detach()
        return stacked(outputs, query_mask)

    def maps(self, features: Sequence[Tensor], boxes: Tensor) -> Features:
        """Return the maps in the form in which stages read them fastest."""
        return prepare_features(features, boxes.dtype) or features

    def run_stage(self, stage: nn.Module, *inputs: Any) -> StageOutput:
        """Run a stage, in training again for its backward pass if stages are checkpointed."""
        if self.checkpoint_stages and self.training:
            # a stage draws no random numbers whose state would have to be brought back
            return checkpoint(stage, *inputs, use_reentrant=False, preserve_rng_state=False)
        return stage(*inputs)


def stage_attn_mask(query_mask: Tensor | None, attn_mask: Tensor | None) -> Tensor | None:
    """Return the mask (B, N or 1, N) of a stage; None where all queries see each other."""
    if attn_mask is None and query_mask is not None:
        return query_mask.unsqueeze(1)  # every row sees the real queries
    return attn_mask


def stacked(outputs: Sequence[StageOutput], query_mask: Tensor | None) -> DecoderOutput:
    """Return the predictions of stages together."""
    boxes_xyzr = torch.stack([output.boxes_xyzr for output in outputs])
    return DecoderOutput(
        logits=torch.stack([output.logits for output in outputs]),
        boxes=xyzr_to_xyxy(boxes_xyzr),
        boxes_xyzr=boxes_xyzr,
        content=torch.stack([output.content for output in outputs]),
        query_mask=query_mask,
    )


def chained(first: DecoderOutput, second: DecoderOutput) -> DecoderOutput:
    """Return the stages of the first, then those of the second, which have the same queries."""
    return DecoderOutput(
        logits=torch.cat([first.logits, second.logits]),
        boxes=torch.cat([first.boxes, second.boxes]),
        boxes_xyzr=torch.cat([first.boxes_xyzr, second.boxes_xyzr]),
        content=torch.cat([first.content, second.content]),
        query_mask=second.query_mask,
    )
