"""Self-attention among the queries of an image, biased towards queries whose box overlaps.

In: content (B, N, D) and boxes (B, N, 4) xyzr; out: content (B, N, D). The bias of head h is
tau_h ln(IoF + 1e-7); IoF is the fraction of the query's box that the key's box covers. The input of
query, key, value and residual includes the position embedding of the box. Paper: section 3.3; after
AdaMixer's position-aware attention.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..assigner.boxes import box_area, box_intersection
from .box_coding import xyzr_to_xyxy


class Attention(Protocol):
    """Attention among the queries of an image, as `IoFBiasedSelfAttention` does it."""

    def __call__(
        self, content: Tensor, boxes_xyzr: Tensor, attn_mask: Tensor | None = None
    ) -> Tensor:
        """Return the attended content (B, N, D) of content (B, N, D) and boxes (B, N, 4)."""


class IoFBiasedSelfAttention(nn.Module):
    """Multi-head self-attention with the intersection-over-foreground bias.

    Args:
        embed_dim: D, a multiple of 8 (four coordinates, sine and cosine) and of ``num_heads``.
        num_heads: number of heads, each with its own learned bias strength tau.
    """

    def __init__(self, *, embed_dim: int = 256, num_heads: int = 8) -> None:
        super().__init__()
        if embed_dim % 8 or embed_dim % num_heads:
            raise ValueError(
                f"embed_dim {embed_dim} must be a multiple of 8 and of num_heads {num_heads}"
            )
        self.num_heads = num_heads
        self.in_proj = nn.Linear(embed_dim, 3 * embed_dim)
        self.out_proj = nn.Linear(embed_dim, embed_dim)
        self.tau = nn.Parameter(torch.empty(num_heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier weights, zero biases, tau uniform in [0, 4]."""
        for layer in (self.in_proj, self.out_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.uniform_(self.tau, 0.0, 4.0)

    def forward(
        self, content: Tensor, boxes_xyzr: Tensor, attn_mask: Tensor | None = None
    ) -> Tensor:
        """Return the attended content (B, N, D), the residual included.

        Args:
            content: (B, N, D).
            boxes_xyzr: (B, N, 4).
            attn_mask: (B, N or 1, N) bool: row sees column; None: all queries see each other.
        """
        images, queries, width = content.shape
        x = content + position_embedding(boxes_xyzr, width)  # (B, N, D)
        query, key, value = self._projected(x)
        bias = self._bias(boxes_xyzr, attn_mask)
        attended = F.scaled_dot_product_attention(query, key, value, bias.to(query.dtype))
        # a copy: the layout of the output depends on the kernel, and an exported view would fix one
        heads = attended.transpose(1, 2).clone(memory_format=torch.contiguous_format)
        out: Tensor = x + self.out_proj(heads.view(images, queries, width))
        return out

    @torch.no_grad()
    def weights(
        self, content: Tensor, boxes_xyzr: Tensor, attn_mask: Tensor | None = None
    ) -> Tensor:
        """Return the attention weights (B, N, N) of `forward`, the mean over heads; rows sum to 1.

        Args:
            content, boxes_xyzr, attn_mask: as for `forward`.
        """
        x = content + position_embedding(boxes_xyzr, content.shape[-1])
        query, key, _ = self._projected(x)
        scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
        weights: Tensor = (scores + self._bias(boxes_xyzr, attn_mask)).softmax(dim=-1)
        return weights.mean(dim=1)

    def _projected(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return query, key and value, each (B, heads, N, D / heads), of (B, N, D)."""
        projected: Tensor = self.in_proj(x).view(x.shape[0], x.shape[1], 3, self.num_heads, -1)
        return projected.permute(2, 0, 3, 1, 4).unbind()

    def _bias(self, boxes_xyzr: Tensor, attn_mask: Tensor | None) -> Tensor:
        """Return the bias (B, heads, N, N), -inf where a row does not see a column."""
        overlap = pairwise_iof(xyzr_to_xyxy(boxes_xyzr)).add(1e-7).log()  # (B, N, N)
        bias = self.tau[:, None, None] * overlap.unsqueeze(1)
        if attn_mask is not None:
            bias = bias.masked_fill(~attended_to(attn_mask).unsqueeze(1), -torch.inf)
        return bias


def attended_to(attn_mask: Tensor) -> Tensor:
    """Return the mask (..., N) with all keys in rows that have none.

    A softmax over no key would be NaN.
    """
    return attn_mask | ~attn_mask.any(dim=-1, keepdim=True)


@torch.no_grad()
def pairwise_iof(boxes_xyxy: Tensor) -> Tensor:
    """Return (B, N, N): the fraction of box n (row) that box m (column) covers, in [0, 1]."""
    rows, columns = boxes_xyxy.unsqueeze(2), boxes_xyxy.unsqueeze(1)
    return box_intersection(rows, columns) / box_area(rows).clamp(min=1e-6)


@torch.no_grad()
def position_embedding(boxes_xyzr: Tensor, embed_dim: int) -> Tensor:
    """Return sines and cosines (..., D) of the boxes (..., 4): D / 4 for each of x, y, z, r.

    x and y are divided by 1000; sine and cosine alternate, as in Vaswani et al. 2017, section 3.5.
    """
    count = embed_dim // 4
    value = torch.cat([boxes_xyzr[..., :2] / 1000.0, boxes_xyzr[..., 2:]], dim=-1)
    power = torch.arange(0, count, 2, dtype=value.dtype, device=value.device) / count
    angle = value.unsqueeze(-1) / 10000.0**power  # (..., 4, count / 2)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-3)
