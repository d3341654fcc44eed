"""A decoder layer of Deformable DETR as a stage, from Hugging Face transformers.

In and out: as `DecoderStage`. Attention among the queries, then every query reads a few points
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
from ..heads import init_focal_bias, prediction_head, refined, zero_init_last_layer
from ..interface import Prediction
from ..necks.deformable_encoder import (
    FlatMaps,
    deformable_config,
    deformable_xavier_init_,
    flattened,
)
from .stage import StageState


class DeformableStage(nn.Module):
    """Refine queries once.

    There is no dropout. Neither the points that a query reads nor the embedding of its box
    depend on the size that the image is padded to.

    Args:
        embed_dim: D.
        num_heads: of both attentions.
        feedforward_dim: hidden width of the feed-forward network.
        num_classes: C.
        points: that a head reads in every level.
        strides: of the feature maps, the finest first.

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
        strides: Sequence[int] = (8, 16, 32, 64),
    ) -> None:
        super().__init__()
        require_transformers()
        from transformers.models.deformable_detr import modeling_deformable_detr as hf

        self.num_classes = num_classes
        self.strides = tuple(strides)
        config = deformable_config(
            embed_dim, num_heads, feedforward_dim, points, len(strides), num_layers=1
        )
        self.position = nn.Sequential(
            nn.Linear(embed_dim, embed_dim),
            nn.ReLU(inplace=True),
            nn.Linear(embed_dim, embed_dim),
        )
        self.layer = hf.DeformableDetrDecoder(config).layers[0]
        self.class_head = prediction_head(embed_dim, num_classes, layers=1)
        self.box_head = prediction_head(embed_dim, 4, layers=3)
        self.reset_parameters()

    def reset_parameters(self, prior_prob: float = 0.01) -> None:
        """Initialise with Xavier weights, no refinement, and scores of ``prior_prob``."""
        deformable_xavier_init_(self)
        init_focal_bias(self.class_head, prior_prob)
        zero_init_last_layer(self.box_head)

    def prepare(self, features: Sequence[Tensor], dtype: torch.dtype) -> FlatMaps:
        """Return the maps, flattened as deformable attention reads them."""
        return flattened(features, self.strides)

    def forward(self, state: StageState[FlatMaps]) -> tuple[Prediction, StageState[FlatMaps]]:
        """Return the prediction, and the state for the next stage."""
        boxes, mask, features = state.boxes_xyzr, state.attn_mask, state.features
        content = self.layer(
            state.content,
            attention_mask=None if mask is None else attended_to(mask).unsqueeze(1),  # all heads
            object_queries_position_embeddings=self.position(
                position_embedding(boxes, state.content.shape[-1])
            ),
            reference_points=reference_boxes(boxes, features.sizes),
            spatial_shapes=features.cells,
            spatial_shapes_list=features.shapes,
            encoder_hidden_states=features.values,
        )
        boxes = refined(self.box_head, content, boxes, refine_boxes_by_scale)
        prediction = Prediction(self.class_head(content), boxes, content)
        return prediction, state.updated_with(prediction)


def reference_boxes(boxes_xyzr: Tensor, sizes: Tensor) -> Tensor:
    """Return (B, N, L, 4): boxes as cxcywh, in parts of what the map of every level covers.

    Args:
        boxes_xyzr: (B, N, 4).
        sizes: (L, 2), width and height in pixels that the maps cover.
    """
    boxes = torch.cat([boxes_xyzr[..., :2], box_sizes(boxes_xyzr)], dim=-1)
    return boxes.unsqueeze(-2) / sizes.repeat(1, 2)
