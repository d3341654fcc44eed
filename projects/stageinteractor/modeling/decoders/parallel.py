"""Stages side by side instead of one after another: all refine the same queries.

In training every one of them learns; one alone is used at inference, so that a detector of one
stage is trained by the losses of several. Every stage has an embedding of its own, added to the
content. The released code evaluates all of them and reports the best.
Paper: ASAG (Fu et al., ICCV 2023), section 3.5.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..mixing.dynamic import EMPTY_BANK
from .cascade import CascadeDecoder, DecoderOutput, stacked, stage_attn_mask
from .stage import StageOutput


class ParallelDecoder(nn.Module):
    """Let the stages of a decoder work side by side.

    Args:
        decoder: its stages, of which the first is used at inference.
        embed_dim: D.
    """

    def __init__(self, *, decoder: CascadeDecoder, embed_dim: int = 256) -> None:
        super().__init__()
        self.decoder = decoder
        self.embeddings = nn.Parameter(torch.empty(len(decoder.stages), embed_dim))
        nn.init.normal_(self.embeddings)

    @property
    def stages(self) -> nn.ModuleList:
        """The stages, the first of which is used at inference."""
        return self.decoder.stages

    @property
    def num_classes(self) -> int:
        """C."""
        return self.decoder.num_classes

    def forward(
        self,
        features: Sequence[Tensor],
        content: Tensor,
        boxes: Tensor,
        query_mask: Tensor | None = None,
        attn_mask: Tensor | None = None,
    ) -> DecoderOutput:
        """Return the predictions of all stages in training, the first one last; else its alone.

        Args:
            features: L maps (B, D, H_l, W_l).
            content: (B, N, D).
            boxes: (B, N, 4) xyzr in pixels.
            query_mask, attn_mask: as in `CascadeDecoder`.
        """
        maps, boxes = self.decoder.maps(features, boxes), boxes.detach()
        attn_mask = stage_attn_mask(query_mask, attn_mask)
        pairs = list(zip(self.stages, self.embeddings, strict=True))
        outputs: list[StageOutput] = []
        for stage, embedding in reversed(pairs if self.training else pairs[:1]):
            inputs = maps, content + embedding, boxes, EMPTY_BANK
            outputs.append(self.decoder.run_stage(stage, *inputs, attn_mask))
            maps = outputs[-1].features  # the same maps: their gradients are added up in one place
        return stacked(outputs, query_mask)
