"""One decoder stage: attention -> sampling -> mixing -> feed-forward -> heads.

In: feature maps, content (B, N, D), boxes (B, N, 4) xyzr, filter bank. Out: logits, refined boxes,
new content and the bank for the next stage. Paper: figure 3 and section 3.3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...assigner.masks import given
from ..box_coding import refine_boxes
from ..heads import feed_forward, init_focal_bias, xavier_init_, zero_init_last_layer
from ..mixing.dynamic import FilterBank
from ..sampling.dispatch import Features


class StageOutput(NamedTuple):
    """What a stage hands on."""

    logits: Tensor  # (B, N, C)
    boxes_xyzr: Tensor  # (B, N, 4), refined, with gradient
    content: Tensor  # (B, N, D)
    bank: FilterBank
    features: Features  # the feature maps, as the next stage samples them


class DecoderStage(nn.Module):
    """Refine queries once.

    Args:
        attention: (content, boxes, mask) -> content.
        sampler: (features, content, boxes) -> sampled (B, N, G, P, Dc), features.
        mixing: (sampled, content, bank) -> (content to add, bank).
        embed_dim: D.
        feedforward_dim: hidden width of the feed-forward network.
        num_classes: C.
        refine: (boxes, deltas) -> boxes.
    """

    def __init__(
        self,
        *,
        attention: nn.Module,
        sampler: nn.Module,
        mixing: nn.Module,
        embed_dim: int = 256,
        feedforward_dim: int = 2048,
        num_classes: int = 80,
        refine: Callable[[Tensor, Tensor], Tensor] = refine_boxes,
    ) -> None:
        super().__init__()
        self.refine = refine
        self.attention = attention
        self.attention_norm = nn.LayerNorm(embed_dim)
        self.sampler = sampler
        self.mixing = mixing
        self.mixing_norm = nn.LayerNorm(embed_dim)
        self.ffn = feed_forward(embed_dim, feedforward_dim)
        self.ffn_norm = nn.LayerNorm(embed_dim)
        self.class_head = _head(embed_dim, num_classes)
        self.box_head = _head(embed_dim, 4)
        self.reset_parameters()

    def reset_parameters(self, prior_probability: float = 0.01) -> None:
        """Xavier weights in feed-forward network and heads; no refinement, rare foreground."""
        xavier_init_(self.ffn, self.class_head, self.box_head)
        init_focal_bias(self.class_head, prior_probability)
        zero_init_last_layer(self.box_head)

    def forward(
        self,
        features: Features,
        content: Tensor,
        boxes_xyzr: Tensor,
        bank: FilterBank,
        attn_mask: Tensor | None = None,
    ) -> StageOutput:
        """Run the stage; boxes come and go as (B, N, 4) xyzr in pixels.

        ``attn_mask`` (B, N or 1, N) bool: whether a query (row) sees a query (column); None: all.
        """
        content = self.attention_norm(
            self.attention(content, boxes_xyzr, **given(attn_mask=attn_mask))
        )
        sampled, features = self.sampler(features, content, boxes_xyzr)
        mixed, bank = self.mixing(sampled, content, bank)
        content = self.mixing_norm(content + mixed)
        content = self.ffn_norm(content + self.ffn(content))
        deltas = self.box_head(content).to(boxes_xyzr.dtype)
        with torch.autocast(content.device.type, enabled=False):
            refined = self.refine(boxes_xyzr, deltas)
        return StageOutput(self.class_head(content), refined, content, bank, features)


def _head(embed_dim: int, out_features: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(embed_dim, embed_dim),
        nn.LayerNorm(embed_dim),
        nn.ReLU(inplace=True),
        nn.Linear(embed_dim, out_features),
    )
