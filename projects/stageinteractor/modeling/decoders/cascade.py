"""A cascade of decoder stages: each refines the queries returned by the previous stage.

In: feature maps and initial queries. Out: logits and boxes of every stage. Boxes are detached
between stages; content and filters are not, so gradients flow through the stages. Paper: section 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..interface import DecoderOutput, Prediction, Queries, stacked, stage_attn_mask
from .stage import Stage, StageState


class CascadeDecoder(nn.Module):
    """Stages in order; each gets the state returned by the previous one.

    Args:
        stages: S stages of one kind, at least one.
        checkpoint_stages: activation checkpointing: in training, store stage inputs and recompute
            each stage in backward. Less memory, more time, the same results.

    Raises:
        ValueError: there is no stage.
    """

    stages: nn.ModuleList

    def __init__(self, stages: Iterable[Stage[Any]], checkpoint_stages: bool = False) -> None:
        super().__init__()
        modules: Any = list(stages)
        if not modules:
            raise ValueError("a decoder needs at least one stage: num_stages must be at least 1")
        self.stages = nn.ModuleList(modules)
        self.num_classes: int = modules[0].num_classes
        self.checkpoint_stages = checkpoint_stages

    def forward(self, features: Sequence[Tensor], queries: Queries) -> DecoderOutput:
        """Decode initial queries.

        Args:
            features: L maps (B, D, H_l, W_l).
            queries: N queries of every image, with their masks.
        """
        state = self.initial_state(features, queries)
        predictions: list[Prediction] = []
        for stage in self.stages:
            prediction, state = self.run_stage(stage, state)
            predictions.append(prediction)
        return stacked(predictions, queries.query_mask)

    def initial_state(self, features: Sequence[Tensor], queries: Queries) -> StageState[Any]:
        """Return what the first stage gets."""
        first: Any = self.stages[0]
        maps = first.prepare(features, queries.boxes.dtype)
        attn_mask = stage_attn_mask(queries.query_mask, queries.attn_mask)
        return StageState(maps, queries.content, queries.boxes, attn_mask)

    def run_stage(
        self, stage: nn.Module, state: StageState[Any]
    ) -> tuple[Prediction, StageState[Any]]:
        """Run a stage, in training again for its backward pass if stages are checkpointed."""
        result: tuple[Prediction, StageState[Any]]
        if self.checkpoint_stages and self.training:
            # a stage draws no random numbers whose state would have to be restored
            result = checkpoint(stage, state, use_reentrant=False, preserve_rng_state=False)
        else:
            result = stage(state)
        return result
