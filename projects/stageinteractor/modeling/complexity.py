"""How large and how costly a model is, module by module.

FLOPs are those of matrix products and convolutions, two for a multiplication with its addition, as
torch's own counter has them; additions, norms and samplings are not counted.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


class Cost(NamedTuple):
    """Parameters and floating-point operations of one module, with all that is in it."""

    name: str  # "" for the whole model
    parameters: int
    trainable: int
    flops: int


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Count the two products of an attention kernel that torch's counter does not know."""
    images, heads, queries, width = query
    return 2 * images * heads * queries * key[2] * (width + value[3])


_UNCOUNTED = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}


def flop_counter() -> FlopCounterMode:
    """Return torch's counter, which also counts attention on CPUs."""
    return FlopCounterMode(display=False, custom_mapping=_UNCOUNTED)


def model_cost(
    model: nn.Module, batched_inputs: list[dict[str, Any]], depth: int = 1
) -> list[Cost]:
    """Run one inference and return the cost of the model and of its modules.

    Args:
        model: a detector; put into evaluation mode.
        batched_inputs: what its forward takes.
        depth: how far to go down into modules of modules.
    """
    model.eval()
    with torch.no_grad(), flop_counter() as counter:
        model(batched_inputs)
    flops = counter.get_flop_counts()
    root = type(model).__name__
    costs = []
    for name, module in model.named_modules():
        if name.count(".") + bool(name) > depth:
            continue
        counted = flops.get(f"{root}.{name}" if name else "Global", {})
        parameters = list(module.parameters())
        if parameters:
            costs.append(
                Cost(
                    name,
                    sum(p.numel() for p in parameters),
                    sum(p.numel() for p in parameters if p.requires_grad),
                    sum(counted.values()),
                )
            )
    return costs
