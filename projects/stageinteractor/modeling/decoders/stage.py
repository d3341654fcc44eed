"""One decoder stage: attention -> sampling -> mixing -> feed-forward -> heads.

In: a state with feature maps, content (B, N, D), boxes (B, N, 4) xyzr and the filter bank. Out: a
prediction, and the state that the next stage gets. Paper: figure 3 and section 3.3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn
from typing_extensions import NamedTuple

from ...assigner.masks import not_none
from ..attention import Attention
from ..box_coding import refine_boxes
from ..heads import feed_forward, init_focal_bias, refined, xavier_init_, zero_init_last_layer
from ..interface import Prediction
from ..mixing.dynamic import EMPTY_BANK, FilterBank, Mixing
from ..sampling.dispatch import Features, Sampler, prepare_features

Maps = TypeVar("Maps")  # type of the feature maps this stage class reads


class StageState(NamedTuple, Generic[Maps]):
    """Input of a stage; it returns an updated one for the next stage."""

    features: Maps
    content: Tensor  # (B, N, D)
    boxes_xyzr: Tensor  # (B, N, 4) pixels; stages return them without gradient
    attn_mask: Tensor | None = None  # (B, N or 1, N) bool: row sees column; None: all
    bank: FilterBank = EMPTY_BANK

    def updated_with(self, prediction: Prediction) -> StageState[Maps]:
        """Return the state with the predicted content, and the predicted boxes detached."""
        return self._replace(content=prediction.content, boxes_xyzr=prediction.boxes_xyzr.detach())


class Stage(Protocol[Maps]):
    """Refines queries once, as `DecoderStage` does."""

    num_classes: int  # C

    def prepare(self, features: Sequence[Tensor], dtype: torch.dtype) -> Maps:
        """Return L maps (B, D, H_l, W_l) as the type that this stage class reads.

        Args:
            features: the maps.
            dtype: that of the boxes.
        """

    def __call__(self, state: StageState[Maps]) -> tuple[Prediction, StageState[Maps]]:
        """Return the prediction, and the state for the next stage."""


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
        attention: Attention,
        sampler: Sampler,
        mixing: Mixing,
        embed_dim: int = 256,
        feedforward_dim: int = 2048,
        num_classes: int = 80,
        refine: Callable[[Tensor, Tensor], Tensor] = refine_boxes,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
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

    def reset_parameters(self, prior_prob: float = 0.01) -> None:
        """Initialise feed-forward network and heads: no refinement, scores of ``prior_prob``."""
        xavier_init_(self.ffn, self.class_head, self.box_head)
        init_focal_bias(self.class_head, prior_prob)
        zero_init_last_layer(self.box_head)

    def prepare(self, features: Sequence[Tensor], dtype: torch.dtype) -> Features:
        """Return the maps in the form in which they are sampled fastest."""
        return prepare_features(features, dtype)

    def forward(self, state: StageState[Features]) -> tuple[Prediction, StageState[Features]]:
        """Return the prediction, and the state with the generated filters in its bank."""
        boxes = state.boxes_xyzr
        attended = self.attention(state.content, boxes, **not_none(attn_mask=state.attn_mask))
        content = self.attention_norm(attended)  # (B, N, D)
        sampled, features = self.sampler(state.features, content, boxes)  # (B, N, G, P, Dc)
        mixed, bank = self.mixing(sampled, content, state.bank)
        content = self.mixing_norm(content + mixed)
        content = self.ffn_norm(content + self.ffn(content))
        boxes = refined(self.box_head, content, boxes, self.refine)
        prediction = Prediction(self.class_head(content), boxes, content)
        return prediction, state.updated_with(prediction)._replace(features=features, bank=bank)


def _head(embed_dim: int, out_features: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(embed_dim, embed_dim),
        nn.LayerNorm(embed_dim),
        nn.ReLU(inplace=True),
        nn.Linear(embed_dim, out_features),
    )
