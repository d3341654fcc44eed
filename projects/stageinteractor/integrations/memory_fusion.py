"""Memory fusion: the outputs of a transformer encoder's layers are joined into one memory.

In: an encoder that runs its L layers one after another over T tokens (B, T, D), the flattened maps
of all levels. Out: the same encoder, whose memory is joined from its input x_0 (without positional
embedding) and the outputs x_1 ... x_L of its layers. A module chooses which of them are joined:
`DenseFusion`, `SimpleFusion` or `ULikeFusion`. Paper: "Detection Transformer with Stable Matching",
ICCV 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UnsupportedHostError

__all__ = ["DenseFusion", "Join", "MemoryFusion", "SimpleFusion", "ULikeFusion", "fuse_memory"]


class Join(nn.Module):
    """Project several tokens of one position to one token: LN(Linear([x; y; ...])).

    Args:
        dim: D.
        count: the number of joined tokens.
    """

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        self.project = nn.Linear(count * dim, dim)
        self.norm = nn.LayerNorm(dim)
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, *tokens: Tensor) -> Tensor:
        """Return (..., D) for ``count`` tensors (..., D)."""
        return self.norm(self.project(torch.cat(tokens, dim=-1)))


class MemoryFusion(nn.Module):
    """Base class of fusions, which replace the outputs of an encoder's layers.

    Called after every layer i = 1 ... L with the tokens so far, [x_0, ..., x_i], each (B, T, D), it
    returns the replacement of x_i: the input of the next layer or, after the last one, the memory.

    Args:
        num_layers: L.
    """

    def __init__(self, num_layers: int) -> None:
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, got {num_layers}")
        self.num_layers = num_layers


class DenseFusion(MemoryFusion):
    """Join the input and the outputs of all layers: LN(Linear([x_0; x_1; ...; x_L]))."""

    def __init__(self, dim: int, num_layers: int) -> None:
        super().__init__(num_layers)
        self.join = Join(dim, num_layers + 1)

    def forward(self, tokens: Sequence[Tensor]) -> Tensor:
        """Return the last of the tokens, or, after the last layer, the joined memory."""
        return self.join(*tokens) if len(tokens) > self.num_layers else tokens[-1]


class SimpleFusion(MemoryFusion):
    """Join the input and the output of the last layer: LN(Linear([x_0; x_L]))."""

    def __init__(self, dim: int, num_layers: int) -> None:
        super().__init__(num_layers)
        self.join = Join(dim, 2)

    def forward(self, tokens: Sequence[Tensor]) -> Tensor:
        """Return the last of the tokens, or, after the last layer, the joined memory."""
        joined = len(tokens) > self.num_layers
        return self.join(tokens[0], tokens[-1]) if joined else tokens[-1]


class ULikeFusion(MemoryFusion):
    """Join the output of layer k with that of layer L - k: LN(Linear([x_k; x_{L-k}])).

    k = 0 is the input, which is joined with the output of the last layer. A joined token is the
    input of the next layer, so the skips nest like those of a U-Net. There are ceil(L / 2) of them,
    for k < L - k; with an even L the middle layer, which would be joined with itself, has none.
    L = 4: output of 1 with that of 3, input with that of 4. L = 5: 2 with 3, 1 with 4, 0 with 5.
    The paper shows this only as a figure, for L = 4; its published code does not have it.
    """

    def __init__(self, dim: int, num_layers: int) -> None:
        super().__init__(num_layers)
        self.joins = nn.ModuleList(Join(dim, 2) for _ in range((num_layers + 1) // 2))

    def forward(self, tokens: Sequence[Tensor]) -> Tensor:
        """Return the last of the tokens, joined with its partner where it has one."""
        first = self.num_layers - (len(tokens) - 1)
        return (
            self.joins[first](tokens[first], tokens[-1]) if first < len(self.joins) else tokens[-1]
        )


def fuse_memory(encoder: Any, fusion: MemoryFusion) -> None:
    """Give an encoder a memory fusion, in place.

    The encoder runs with its own forward and arguments; a norm after its last layer is applied
    before the last join. The fusion becomes its submodule ``memory_fusion``, all other
    parameters keep their names.

    Args:
        encoder: called with the tokens (B, T, D) first or as ``query``; has its ``layers``.
        fusion: for the same number of layers.

    Raises:
        UnsupportedHostError: the encoder has no such layers, or has a fusion. On its first
            call: it does not run every layer once, or a layer's output is not a tensor of all
            tokens.
    """
    name = type(encoder).__name__
    layers = getattr(encoder, "layers", None)
    if not isinstance(layers, nn.ModuleList) or len(layers) != fusion.num_layers:
        raise UnsupportedHostError(
            f"{name} cannot have a memory fusion for {fusion.num_layers} layers: it has "
            f"{'no layers' if layers is None else f'{len(layers)} layers'}"
        )
    if hasattr(encoder, "memory_fusion"):
        raise UnsupportedHostError(f"{name} has a memory fusion already")
    encoder.memory_fusion = fusion
    encoder.forward = partial(_run, encoder, encoder.forward)


def _run(encoder: Any, forward: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    """Run the encoder's own forward, with its fusion after every layer."""
    query = kwargs.get("query", args[0] if args else None)
    if query is None:
        raise UnsupportedHostError(
            f"{type(encoder).__name__} is called with {', '.join(kwargs)}: a memory fusion needs "
            "its tokens as the first argument or as query"
        )
    fusion, tokens = encoder.memory_fusion, [query]

    def after(layer: nn.Module, arguments: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise UnsupportedHostError(
                f"{type(layer).__name__} returns {type(output).__name__}: a layer whose output is "
                "not one tensor cannot have a memory fusion"
            )
        if output.shape != tokens[0].shape:  # such as the foreground tokens of Focus-DETR
            raise UnsupportedHostError(
                f"{type(layer).__name__} returns tokens {tuple(output.shape)} for an input of "
                f"{tuple(tokens[0].shape)}: a layer that runs over a part of the tokens cannot "
                "have a memory fusion"
            )
        tokens.append(output)
        return fusion(tokens)

    handles = [layer.register_forward_hook(after) for layer in encoder.layers[:-1]]
    try:
        memory = forward(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
    if len(tokens) != fusion.num_layers:
        raise UnsupportedHostError(
            f"{type(encoder).__name__} does not run each of its {fusion.num_layers} layers once: "
            "it cannot have a memory fusion"
        )
    return fusion([*tokens, memory])
