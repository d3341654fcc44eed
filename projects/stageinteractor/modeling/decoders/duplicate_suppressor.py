"""Duplicate removal by a last decoder layer that scores the queries of a detector once more.

In: content, logits and boxes of the detector's last stage. Out: logits (B, N, C); the boxes stay.
The layer looks at no image: a query sees the queries that are more confident, so it can notice
that its object is detected already. Trained one-to-one (`criterion.SuppressorLoss`), it takes the
place of NMS behind stages whose labels give an object several queries. Source: MDS-DETR (Lee et
al., 2026), read from its released code; the differences are listed in docs/duplicate_removal.md.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..heads import feed_forward, init_focal_bias, xavier_init_, zero_init_last_layer
from .ordered_attention import OrderedAttention
from .query_order import more_confident, pair_features


class NewLogits(nn.Module):
    """Logits from the content of the suppressor; those of the detector give the order only.

    Args:
        embed_dim: D.
        num_classes: C.
    """

    def __init__(self, embed_dim: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(embed_dim, num_classes)
        init_focal_bias(self.linear, prior_prob=0.01)

    def forward(self, content: Tensor, logits: Tensor) -> Tensor:
        """Return logits (B, N, C) of content (B, N, D)."""
        out: Tensor = self.linear(content)
        return out


class ResidualLogits(nn.Module):
    """The detector's logits plus a change that is initially zero.

    Behind any trained detector nothing is worse at the start.

    Args:
        embed_dim: D.
        num_classes: C.
    """

    def __init__(self, embed_dim: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(embed_dim, num_classes)
        zero_init_last_layer(self.linear)

    def forward(self, content: Tensor, logits: Tensor) -> Tensor:
        """Return logits (B, N, C) from content (B, N, D) and the detector's logits."""
        change: Tensor = self.linear(content)
        return logits.detach() + change


class SuppressorLayer(nn.Module):
    """Ordered attention, then a feed-forward network, each with a residual and a LayerNorm.

    Args:
        embed_dim, num_heads, feedforward_dim, num_tokens: see `DuplicateSuppressor`.
    """

    def __init__(
        self, embed_dim: int, num_heads: int, feedforward_dim: int, num_tokens: int
    ) -> None:
        super().__init__()
        self.attention = OrderedAttention(embed_dim, num_heads, num_tokens)
        self.attention_norm = nn.LayerNorm(embed_dim)
        self.ffn = feed_forward(embed_dim, feedforward_dim)
        self.ffn_norm = nn.LayerNorm(embed_dim)
        xavier_init_(self.ffn)

    def forward(self, content: Tensor, visible: Tensor, features: Tensor) -> Tensor:
        """Return the content (B, N, D); the arguments are those of `OrderedAttention`."""
        content = self.attention_norm(content + self.attention(content, visible, features))
        out: Tensor = self.ffn_norm(content + self.ffn(content))
        return out


class DuplicateSuppressor(nn.Module):
    """Score queries once more, so that each object keeps one confident query.

    Args:
        embed_dim: D, a multiple of ``num_heads``.
        num_classes: C.
        num_heads: attention heads.
        feedforward_dim: hidden width of the feed-forward network.
        num_layers: layers; all have the order of the detector's logits.
        num_tokens: K learned keys that every query sees.
        head: content and the detector's logits -> logits: `NewLogits` or `ResidualLogits`.
        sees_itself: whether a query is among its own keys.
        detach: whether the content is cut off from the detector's gradient.

    Raises:
        ValueError: a size does not fit, or without tokens the first query would see nothing.
    """

    def __init__(
        self,
        *,
        embed_dim: int,
        num_classes: int,
        num_heads: int = 8,
        feedforward_dim: int = 1024,
        num_layers: int = 1,
        num_tokens: int = 10,
        head: Callable[[int, int], nn.Module] = NewLogits,
        sees_itself: bool = True,
        detach: bool = True,
    ) -> None:
        super().__init__()
        if embed_dim % num_heads or num_layers < 1:
            raise ValueError(
                f"embed_dim {embed_dim} must be a multiple of num_heads {num_heads}, and "
                f"num_layers {num_layers} at least 1"
            )
        if num_tokens < 0 or not (num_tokens or sees_itself):
            raise ValueError(
                f"num_tokens is {num_tokens}: without a token the most confident query sees "
                "nothing, unless sees_itself is true"
            )
        self.embed_dim = embed_dim
        self.num_classes = num_classes
        self.sees_itself = sees_itself
        self.detach = detach
        self.layers = nn.ModuleList(
            SuppressorLayer(embed_dim, num_heads, feedforward_dim, num_tokens)
            for _ in range(num_layers)
        )
        self.head = head(embed_dim, num_classes)

    def forward(
        self, content: Tensor, logits: Tensor, boxes_xyxy: Tensor, query_mask: Tensor | None = None
    ) -> Tensor:
        """Return the new logits (B, N, C).

        Args:
            content: (B, N, D), input of the detector's last class head.
            logits: (B, N, C) of that head; they order the queries.
            boxes_xyxy: (B, N, 4) in pixels.
            query_mask: (B, N) bool: True for real queries. Padding is not seen by any query; its
                own logits have no meaning.

        Raises:
            ValueError: the content has another width than ``embed_dim``.
        """
        if content.shape[-1] != self.embed_dim:
            raise ValueError(
                f"the content of the queries has the width {content.shape[-1]}, and the suppressor "
                f"was built with embed_dim={self.embed_dim}"
            )
        content = content.detach() if self.detach else content
        if query_mask is not None:  # NaN in padding would spread through the masked attention
            padding = ~query_mask.unsqueeze(-1)
            content, logits, boxes_xyxy = (
                x.masked_fill(padding, 0.0) for x in (content, logits, boxes_xyxy)
            )
        visible = self.visible(logits, query_mask)
        features = pair_features(boxes_xyxy)
        for layer in self.layers:
            content = layer(content, visible, features)
        out: Tensor = self.head(content, logits)
        return out

    def visible(self, logits: Tensor, query_mask: Tensor | None = None) -> Tensor:
        """Return (B, N, N) bool: whether query i (row) sees query j (column)."""
        seen = more_confident(logits)
        if query_mask is not None:
            seen = seen & query_mask.unsqueeze(1)
        if self.sees_itself:
            seen = seen | torch.eye(seen.shape[-1], dtype=torch.bool, device=seen.device)
        return seen
