"""Self-attention in which a query sees only more confident queries, and learned tokens.

In: content (B, N, D), a mask and features of all pairs of queries. Out: content (B, N, D), without
the residual. The tokens are keys for every query, so the most confident query has something to
attend to. Source: MDS-DETR (Lee et al., 2026), its released code; the bias sees the IoU too.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..heads import zero_init_last_layer
from .query_order import NUM_FEATURES

HIDDEN = 64  # width of the pair bias's hidden layer


class PairBias(nn.Module):
    """Attention bias (B, H, N, N) from the features of pairs, symmetric and initially zero.

    Args:
        num_heads: H.
    """

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(NUM_FEATURES, HIDDEN), nn.ReLU(inplace=True), nn.Linear(HIDDEN, num_heads)
        )
        zero_init_last_layer(self.mlp)

    def forward(self, features: Tensor) -> Tensor:
        """Return the bias of features (B, N, N, 5): the mean over both orders of a pair."""
        bias: Tensor = self.mlp(features)  # (B, N, N, H)
        return ((bias + bias.transpose(1, 2)) / 2).permute(0, 3, 1, 2)


class OrderedAttention(nn.Module):
    """Multi-head attention among the visible queries and K learned tokens.

    Args:
        embed_dim: D, a multiple of ``num_heads``.
        num_heads: H.
        num_tokens: K; 0 for none, which leaves a query without visible ones nothing to attend to.
    """

    def __init__(self, embed_dim: int, num_heads: int, num_tokens: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query_proj, self.key_proj, self.value_proj, self.out_proj = (
            nn.Linear(embed_dim, embed_dim) for _ in range(4)
        )
        self.token_keys = nn.Parameter(torch.empty(num_tokens, embed_dim))
        self.token_values = nn.Parameter(torch.empty(num_tokens, embed_dim))
        self.token_bias = nn.Parameter(torch.empty(num_heads, 1, num_tokens))
        self.pair_bias = PairBias(num_heads)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier matrices, zero biases; together the tokens weigh as much as one key."""
        for layer in (self.query_proj, self.key_proj, self.value_proj, self.out_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        if self.token_keys.numel():
            nn.init.xavier_uniform_(self.token_keys)
            nn.init.xavier_uniform_(self.token_values)
        nn.init.constant_(self.token_bias, -math.log(max(len(self.token_keys), 1)))

    def forward(self, content: Tensor, visible: Tensor, features: Tensor) -> Tensor:
        """Return the attended content (B, N, D).

        Args:
            content: (B, N, D).
            visible: (B, N, N) bool: row sees column.
            features: (B, N, N, 5), `pair_features`.
        """
        images, _, width = content.shape
        tokens = (x.expand(images, -1, -1) for x in (self.token_keys, self.token_values))
        keys, values = (torch.cat([content, x.to(content.dtype)], dim=1) for x in tokens)
        query = self._heads(self.query_proj(content))  # (B, H, N, D / H)
        key, value = self._heads(self.key_proj(keys)), self._heads(self.value_proj(values))
        bias = self.pair_bias(features.to(content.dtype))
        bias = bias.masked_fill(~visible.unsqueeze(1), -torch.inf)
        token_bias = self.token_bias.to(bias.dtype).expand(images, -1, content.shape[1], -1)
        bias = torch.cat([bias, token_bias], dim=-1)  # (B, H, N, N + K)
        attended = F.scaled_dot_product_attention(query, key, value, bias.to(query.dtype))
        # a copy: the layout of the output depends on the kernel, and an exported view would fix one
        heads = attended.transpose(1, 2).clone(memory_format=torch.contiguous_format)
        out: Tensor = self.out_proj(heads.flatten(2))
        return out

    def _heads(self, x: Tensor) -> Tensor:
        """Split (B, n, D) into (B, H, n, D / H)."""
        images, count, width = x.shape
        return x.view(images, count, self.num_heads, width // self.num_heads).transpose(1, 2)
