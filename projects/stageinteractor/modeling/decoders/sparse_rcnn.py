"""The dynamic head of Sparse R-CNN, as a stage: attention -> features of the box -> two filters.

In and out: as `DecoderStage`. The features that lie in a query's box are filtered by two
matrices that the query generates. Source: Sun et al., "Sparse R-CNN", CVPR 2021, section 3.2;
ASAG-S (Fu et al., ICCV 2023) has one such stage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..anchors.relation_block import BoxFeatures
from ..attention import attended_to
from ..box_coding import box_sizes, xyzr_to_xyxy
from ..heads import (
    feed_forward,
    init_focal_bias,
    prediction_head,
    refined,
    xavier_init_,
    zero_init_last_layer,
)
from ..interface import Prediction
from .stage import StageState

CENTER_WEIGHT = 2.0  # predicted for the centre is twice its shift in widths and heights
LARGEST = math.log(100_000.0 / 16.0)  # of the logarithm by which a box grows


def refine_boxes_by_deltas(boxes_xyzr: Tensor, deltas: Tensor) -> Tensor:
    """Move boxes (..., 4) by deltas (..., 4), those of R-CNN with the weights 2, 2, 1, 1.

    The centre moves by half a delta times width and height; these grow by the exponential of a
    delta.
    """
    center = boxes_xyzr[..., :2] + deltas[..., :2] / CENTER_WEIGHT * box_sizes(boxes_xyzr)
    width, height = (deltas[..., 2:].clamp(max=LARGEST) / math.log(2.0)).unbind(-1)
    z, r = boxes_xyzr[..., 2] + (width + height) / 2, boxes_xyzr[..., 3] + height - width
    return torch.cat([center, z.unsqueeze(-1), r.unsqueeze(-1)], dim=-1)


class DynamicConv(nn.Module):
    """Filter the features of boxes by two matrices generated from the queries.

    Args:
        embed_dim: D.
        filter_dim: d, the width in between.
        cells: of the features of a box.
    """

    def __init__(self, *, embed_dim: int = 256, filter_dim: int = 64, cells: int = 49) -> None:
        super().__init__()
        self.shape = embed_dim, filter_dim
        self.filters = nn.Linear(embed_dim, 2 * embed_dim * filter_dim)
        self.first_norm = nn.LayerNorm(filter_dim)
        self.second_norm = nn.LayerNorm(embed_dim)
        self.project = nn.Linear(cells * embed_dim, embed_dim)
        self.project_norm = nn.LayerNorm(embed_dim)

    def forward(self, features: Tensor, content: Tensor) -> Tensor:
        """Return (B, N, D) of features (B, N, cells, D) and content (B, N, D)."""
        first, second = self.filters(content).chunk(2, dim=-1)
        x = features @ first.unflatten(-1, self.shape)  # (B, N, cells, d)
        x = F.relu(self.first_norm(x)) @ second.unflatten(-1, self.shape[::-1])  # (B, N, cells, D)
        x = self.project(F.relu(self.second_norm(x)).flatten(2))  # (B, N, D)
        return F.relu(self.project_norm(x))


class DynamicHead(nn.Module):
    """Refine queries once.

    Args:
        embed_dim: D.
        num_heads: of the self-attention.
        feedforward_dim: hidden width of the feed-forward network.
        num_classes: C.
        filter_dim: d, of the generated filters.
        grid: rows and columns of the features of a box.
        strides: of the feature maps.
    """

    def __init__(
        self,
        *,
        embed_dim: int = 256,
        num_heads: int = 8,
        feedforward_dim: int = 2048,
        num_classes: int = 80,
        filter_dim: int = 64,
        grid: int = 7,
        strides: Sequence[int] = (4, 8, 16, 32),
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.attention = nn.MultiheadAttention(embed_dim, num_heads, batch_first=True)
        self.attention_norm = nn.LayerNorm(embed_dim)
        self.box_features = BoxFeatures(strides=strides, size=grid)
        self.dynamic_conv = DynamicConv(
            embed_dim=embed_dim, filter_dim=filter_dim, cells=grid * grid
        )
        self.dynamic_norm = nn.LayerNorm(embed_dim)
        self.ffn = feed_forward(embed_dim, feedforward_dim)
        self.ffn_norm = nn.LayerNorm(embed_dim)
        self.class_head = prediction_head(embed_dim, num_classes, layers=1)
        self.box_head = prediction_head(embed_dim, 4, layers=3)
        self.reset_parameters()

    def reset_parameters(self, prior_prob: float = 0.01) -> None:
        """Initialise with Xavier weights, no refinement, and scores of ``prior_prob``."""
        xavier_init_(self)
        init_focal_bias(self.class_head, prior_prob)
        zero_init_last_layer(self.box_head)

    def prepare(self, features: Sequence[Tensor], dtype: torch.dtype) -> Sequence[Tensor]:
        """Return the maps as they are: every box is read from one level."""
        return features

    def forward(
        self, state: StageState[Sequence[Tensor]]
    ) -> tuple[Prediction, StageState[Sequence[Tensor]]]:
        """Return the prediction, and the state for the next stage."""
        content, boxes, mask = state.content, state.boxes_xyzr, state.attn_mask
        hidden = None if mask is None else self._hidden(mask, content.shape[1])
        attended, _ = self.attention(
            content, content, content, need_weights=False, attn_mask=hidden
        )
        content = self.attention_norm(content + attended)
        read = self.box_features(state.features, xyzr_to_xyxy(boxes))  # (B, N, D, grid, grid)
        cells = read.flatten(3).transpose(2, 3)  # (B, N, grid grid, D)
        content = self.dynamic_norm(content + self.dynamic_conv(cells, content))
        content = self.ffn_norm(content + self.ffn(content))
        boxes = refined(self.box_head, content, boxes, refine_boxes_by_deltas)
        prediction = Prediction(self.class_head(content), boxes, content)
        return prediction, state.updated_with(prediction)

    def _hidden(self, attn_mask: Tensor, queries: int) -> Tensor:
        """Return (B*heads, N, N) bool, True where torch's attention must not look."""
        hidden = ~attended_to(attn_mask).expand(-1, queries, -1)
        return hidden.repeat_interleave(self.attention.num_heads, dim=0)
