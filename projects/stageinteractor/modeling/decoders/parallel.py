"""Stages side by side instead of one after another: all refine the same queries.

In training all of them are supervised; the first alone is used at inference, so that a detector of
one stage is trained by the losses of several. Every stage has an embedding of its own, added to
the content. The released code evaluates all of them and reports the best.
Paper: ASAG (Fu et al., ICCV 2023), section 3.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..interface import DecoderOutput, Prediction, Queries, stacked
from .cascade import CascadeDecoder
from .stage import Stage


class ParallelDecoder(nn.Module):
    """Stages side by side.

    Args:
        stages: S stages of one kind, of which the first is used at inference.
        embed_dim: D.
        checkpoint_stages: as in `CascadeDecoder`.
    """

    def __init__(
        self,
        *,
        stages: Iterable[Stage[Any]],
        embed_dim: int = 256,
        checkpoint_stages: bool = False,
    ) -> None:
        super().__init__()
        self.decoder = CascadeDecoder(stages, checkpoint_stages)
        self.embeddings = nn.Parameter(torch.empty(len(self.stages), embed_dim))
        nn.init.normal_(self.embeddings)

    @property
    def stages(self) -> nn.ModuleList:
        """The stages, the first of which is used at inference."""
        return self.decoder.stages

    @property
    def num_classes(self) -> int:
        """C."""
        return self.decoder.num_classes

    def forward(self, features: Sequence[Tensor], queries: Queries) -> DecoderOutput:
        """Return the predictions of all stages in training, the first one last; else its alone.

        Args:
            features: L maps (B, D, H_l, W_l).
            queries: N queries of every image, with their masks.
        """
        boxes = queries.boxes.detach()
        state = self.decoder.initial_state(features, queries._replace(boxes=boxes))
        pairs = list(zip(self.stages, self.embeddings, strict=True))
        predictions: list[Prediction] = []
        for stage, embedding in reversed(pairs if self.training else pairs[:1]):
            start = state._replace(content=queries.content + embedding)
            prediction, after = self.decoder.run_stage(stage, start)
            # the same maps: their gradients are added up in one place
            state = state._replace(features=after.features)
            predictions.append(prediction)
        return stacked(predictions, queries.query_mask)
