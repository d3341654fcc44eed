"""A decoder layer of Deformable DETR as a stage, from Hugging Face transformers.

In and out: as of `DecoderStage`. Attention among the queries, then every query reads a few points
in its box and around it, in all levels. Source: Zhu et al., "Deformable DETR", ICLR 2021, section
4; ASAG-D (Fu et al., ICCV 2023) has one such stage. The published code of ASAG does not hold it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...integrations.transformers import require_transformers
from ..attention import attended_to, position_embedding
from ..box_coding import box_sizes, refine_boxes_by_scale
from ..heads import init_focal_bias, prediction_head, zero_init_last_layer
from ..mixing.dynamic import FilterBank
from ..necks.deformable_encoder import (
    FlatMaps,
    deformable_config,
    deformable_xavier_init_,
    flattened,
)
from .cascade import CascadeDecoder
from .stage import StageOutput


class DeformableStage(nn.Module):
    """Refine queries once.

    Nothing is dropped out. Neither the points that a query reads nor the embedding of its box
    depend on the size that the image is padded to.

    Args:
        embed_dim: D.
        num_heads: of both attentions.
        feedforward_dim: hidden width of the feed-forward network.
        num_classes: C.
        points: that a head reads in every level.
        num_levels: L.

    Raises:
        MissingDependencyError: transformers is not installed.
    """

    def __init__(
        self,
        *,
        embed_dim: int = 256,
        num_heads: int = 8,
        feedforward_dim: int = 1024,
        num_classes: int = 80,
        points: int = 4,
        num_levels: int = 4,
    ) -> None:
        super().__init__()
        require_transformers()
        from transformers.models.deformable_detr import modeling_deformable_detr as host

        config = deformable_config(
            embed_dim, num_heads, feedforward_dim, points, num_levels, num_layers=1
        )
        self.position = nn.Sequential(
            nn.Linear(embed_dim, embed_dim),
            nn.ReLU(inplace=True),
            nn.Linear(embed_dim, embed_dim),
        )
        self.layer = host.DeformableDetrDecoder(config).layers[0]
        self.class_head = prediction_head(embed_dim, num_classes, layers=1)
        self.box_head = prediction_head(embed_dim, 4, layers=3)
        self.reset_parameters()

    def reset_parameters(self, prior_probability: float = 0.01) -> None:
        """Xavier weights; no refinement, rare foreground."""
        deformable_xavier_init_(self)
        init_focal_bias(self.class_head, prior_probability)
        zero_init_last_layer(self.box_head)

    def forward(
        self,
        features: FlatMaps,
        content: Tensor,
        boxes_xyzr: Tensor,
        bank: FilterBank,
        attn_mask: Tensor | None = None,
    ) -> StageOutput:
        """Run the stage; the filter bank is handed on as it is.

        ``attn_mask`` (B, N or 1, N) bool: whether a query (row) sees a query (column); None: all.
        """
        seen = None if attn_mask is None else attended_to(attn_mask).unsqueeze(1)  # for all heads
        content = self.layer(
            content,
            attention_mask=seen,
            object_queries_position_embeddings=self.position(
                position_embedding(boxes_xyzr, content.shape[-1])
            ),
            reference_points=reference_boxes(boxes_xyzr, features.sizes),
            spatial_shapes=features.cells,
            spatial_shapes_list=features.shapes,
            encoder_hidden_states=features.values,
        )
        deltas = self.box_head(content).to(boxes_xyzr.dtype)
        with torch.autocast(content.device.type, enabled=False):
            refined = refine_boxes_by_scale(boxes_xyzr, deltas)
        logits = self.class_head(content)
        return StageOutput(logits, refined, content, bank, features)  # type: ignore[arg-type]


class DeformableDecoder(CascadeDecoder):
    """Deformable layers in order; the arguments are those of `DeformableStage`.

    Args:
        num_stages: S.
        strides: of the feature maps, the finest first.
        checkpoint_stages: as of `CascadeDecoder`.
    """

    def __init__(
        self,
        *,
        num_stages: int = 6,
        embed_dim: int = 256,
        num_heads: int = 8,
        feedforward_dim: int = 1024,
        num_classes: int = 80,
        points: int = 4,
        strides: Sequence[int] = (8, 16, 32, 64),
        checkpoint_stages: bool = False,
    ) -> None:
        stages = [
            DeformableStage(
                embed_dim=embed_dim,
                num_heads=num_heads,
                feedforward_dim=feedforward_dim,
                num_classes=num_classes,
                points=points,
                num_levels=len(strides),
            )
            for _ in range(num_stages)
        ]
        super().__init__(stages, num_classes, checkpoint_stages)
        self.strides = tuple(strides)

    def maps(  # type: ignore[override]
        self, features: Sequence[Tensor], boxes: Tensor
    ) -> FlatMaps:
        """Return the maps as all stages read them."""
        return flattened(features, self.strides)


def reference_boxes(boxes_xyzr: Tensor, sizes: Tensor) -> Tensor:
    """Return (B, N, L, 4): boxes as cxcywh, in parts of what the map of every level covers.

    Args:
        boxes_xyzr: (B, N, 4).
        sizes: (L, 2), width and height in pixels that the maps cover.
    """
    boxes = torch.cat([boxes_xyzr[..., :2], box_sizes(boxes_xyzr)], dim=-1)
    return boxes.unsqueeze(-2) / sizes.repeat(1, 2)
