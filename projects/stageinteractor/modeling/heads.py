"""What every stage ends with: a feed-forward network, and heads for class and box.

In: content (B, N, D). Out: content again, logits (B, N, C) and refinements (B, N, 4).
"""

from __future__ import annotations

import math

from torch import nn


def feed_forward(embed_dim: int, hidden_dim: int) -> nn.Sequential:
    """Return two linear layers with a ReLU in between."""
    return nn.Sequential(
        nn.Linear(embed_dim, hidden_dim), nn.ReLU(inplace=True), nn.Linear(hidden_dim, embed_dim)
    )


def prediction_head(embed_dim: int, out_features: int, layers: int) -> nn.Sequential:
    """Return hidden layers without bias but with LayerNorm, and a linear layer that predicts."""
    hidden: list[nn.Module] = []
    for _ in range(layers):
        hidden += [
            nn.Linear(embed_dim, embed_dim, bias=False),
            nn.LayerNorm(embed_dim),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*hidden, nn.Linear(embed_dim, out_features))


def xavier_init_(*modules: nn.Module) -> None:
    """Give all matrices Xavier's uniform values."""
    for module in modules:
        for parameter in module.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)


def init_focal_bias(class_head: nn.Module, probability: float) -> None:
    """Let the scores that a head begins with be this probability (Lin et al., ICCV 2017)."""
    *_, bias = class_head.parameters()
    nn.init.constant_(bias, -math.log((1 - probability) / probability))


def zero_init_last_layer(box_head: nn.Module) -> None:
    """Let a head begin with no refinement at all."""
    *_, weight, bias = box_head.parameters()
    nn.init.zeros_(weight)
    nn.init.zeros_(bias)
