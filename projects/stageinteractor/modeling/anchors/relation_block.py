"""Anchors become queries: features are read in them, they attend to each other, are refined once.

In: feature maps and anchors. Out: content and boxes for the decoder, and the logits and boxes of
these dynamic proposals, which are supervised like those of a stage. Paper: ASAG (Fu et al., ICCV
2023), section 3.1 and appendix; the self-attention is the decoder's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from ..attention import IoFBiasedSelfAttention
from ..box_coding import refine_boxes_by_scale, xyxy_to_xyzr
from ..heads import (
    feed_forward,
    init_focal_bias,
    prediction_head,
    refined,
    xavier_init_,
    zero_init_last_layer,
)
from ..interface import Prediction

CANONICAL_SIZE, CANONICAL_LEVEL = 224.0, 4  # boxes of 224 x 224 pixels are read from P4


class BoxFeatures(nn.Module):
    """Read a grid of features inside of every box, from the level that fits its size.

    Source: Lin et al., "Feature Pyramid Networks", CVPR 2017, equation 1.

    Args:
        strides: of the feature maps, powers of 2, each twice the one before.
        size: rows and columns of the grid.
        sampling_ratio: points across and down in every cell of the grid.
    """

    def __init__(
        self,
        *,
        strides: Sequence[int] = (4, 8, 16, 32),
        size: int = 7,
        sampling_ratio: int = 2,
    ) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.size = size
        self.sampling_ratio = sampling_ratio

    def forward(self, features: Sequence[Tensor], boxes: Tensor) -> Tensor:
        """Return (B, N, D, size, size) of maps (B, D, H_l, W_l) and boxes (B, N, 4) xyxy pixels.

        Computed in the type of the boxes: half precision would move them by pixels.
        """
        images, queries, _ = boxes.shape
        index = torch.arange(images, device=boxes.device).repeat_interleave(queries)
        rois = torch.cat([index[:, None].to(boxes), boxes.flatten(0, 1)], dim=1)
        level = self.levels(boxes).flatten()
        read = boxes.new_zeros(len(rois), features[0].shape[1], self.size, self.size)
        for number, (maps, stride) in enumerate(zip(features, self.strides, strict=True)):
            (chosen,) = (level == number).nonzero(as_tuple=True)
            cells = roi_align(
                maps.to(rois), rois[chosen], self.size, 1 / stride, self.sampling_ratio, True
            )
            read = read.index_copy(0, chosen, cells)
        return read.view(images, queries, *read.shape[1:])

    def levels(self, boxes: Tensor) -> Tensor:
        """Return (...) long: the index of the map that boxes (..., 4) are read from."""
        size = (boxes[..., 2:] - boxes[..., :2]).prod(dim=-1).clamp(min=0).sqrt()
        level = torch.floor(CANONICAL_LEVEL + torch.log2(size / CANONICAL_SIZE + 1e-6))
        first = round(math.log2(self.strides[0]))
        return (level - first).clamp(0, len(self.strides) - 1).long()


class RelationBlock(nn.Module):
    """Turn anchors into proposals and content.

    Args:
        embed_dim: D.
        num_heads: of the self-attention.
        feedforward_dim: hidden width of the feed-forward network.
        num_classes: C.
        strides: of the feature maps.
        grid: rows and columns of features that are read in every anchor.
    """

    def __init__(
        self,
        *,
        embed_dim: int = 256,
        num_heads: int = 8,
        feedforward_dim: int = 2048,
        num_classes: int = 80,
        strides: Sequence[int] = (4, 8, 16, 32),
        grid: int = 7,
    ) -> None:
        super().__init__()
        self.box_features = BoxFeatures(strides=strides, size=grid)
        self.project = nn.Linear(grid * grid * embed_dim, embed_dim)
        self.project_norm = nn.LayerNorm(embed_dim)
        self.attention = IoFBiasedSelfAttention(embed_dim=embed_dim, num_heads=num_heads)
        self.attention_norm = nn.LayerNorm(embed_dim)
        self.ffn = feed_forward(embed_dim, feedforward_dim)
        self.ffn_norm = nn.LayerNorm(embed_dim)
        self.class_head = prediction_head(embed_dim, num_classes, layers=1)
        self.box_head = prediction_head(embed_dim, 4, layers=3)
        self.reset_parameters()

    def reset_parameters(self, prior_prob: float = 0.01) -> None:
        """Initialise with Xavier weights, no refinement, and scores of ``prior_prob``."""
        xavier_init_(self.project, self.ffn, self.class_head, self.box_head)
        init_focal_bias(self.class_head, prior_prob)
        zero_init_last_layer(self.box_head)

    def forward(
        self, features: Sequence[Tensor], anchors: Tensor, attn_mask: Tensor | None = None
    ) -> Prediction:
        """Return the proposals, supervised like the predictions of a stage.

        Args:
            features: L maps (B, D, H_l, W_l).
            anchors: (B, N, 4), xyxy pixels, without gradient.
            attn_mask: (B, N or 1, N) bool: whether an anchor (row) sees an anchor (column); None:
                all.
        """
        boxes = xyxy_to_xyzr(anchors)
        content = self.project_norm(self.project(self.box_features(features, anchors).flatten(2)))
        content = self.attention_norm(self.attention(content, boxes, attn_mask))
        content = self.ffn_norm(content + self.ffn(content))
        boxes = refined(self.box_head, content, boxes, refine_boxes_by_scale)
        return Prediction(self.class_head(content), boxes, content)
