"""Feed-forward network, and heads for class and box: the end of every stage.

In: content (B, N, D). Out: content again, logits (B, N, C) and refinements (B, N, 4).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


def feed_forward(embed_dim: int, hidden_dim: int) -> nn.Sequential:
    """Return two linear layers with a ReLU in between."""
    return nn.Sequential(
        nn.Linear(embed_dim, hidden_dim), nn.ReLU(inplace=True), nn.Linear(hidden_dim, embed_dim)
    )


def prediction_head(embed_dim: int, out_features: int, layers: int) -> nn.Sequential:
    """Return hidden layers (linear without bias, LayerNorm, ReLU) and a linear output layer."""
    hidden: list[nn.Module] = []
    for _ in range(layers):
        hidden += [
            nn.Linear(embed_dim, embed_dim, bias=False),
            nn.LayerNorm(embed_dim),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*hidden, nn.Linear(embed_dim, out_features))


def refined(
    box_head: nn.Module,
    content: Tensor,
    boxes_xyzr: Tensor,
    refine: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Return the boxes (B, N, 4) as a head refines them, in the precision of the boxes.

    Args:
        box_head: content (B, N, D) -> deltas (B, N, 4), in half precision under autocast.
        content: (B, N, D).
        boxes_xyzr: (B, N, 4).
        refine: (boxes, deltas) -> boxes.
    """
    deltas = box_head(content).to(boxes_xyzr.dtype)
    with torch.autocast(content.device.type, enabled=False):
        return refine(boxes_xyzr, deltas)


def xavier_init_(*modules: nn.Module) -> None:
    """Initialise all matrices by Xavier's uniform distribution."""
    for module in modules:
        for parameter in module.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)


def init_focal_bias(class_head: nn.Module, prior_prob: float) -> None:
    """Initialise the class bias so that initial scores equal ``prior_prob``.

    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, section 4.1.
    """
    *_, bias = class_head.parameters()
    nn.init.constant_(bias, -math.log((1 - prior_prob) / prior_prob))


def zero_init_last_layer(box_head: nn.Module) -> None:
    """Initialise the last layer of a box head to zero: boxes start unrefined."""
    *_, weight, bias = box_head.parameters()
    nn.init.zeros_(weight)
    nn.init.zeros_(bias)
