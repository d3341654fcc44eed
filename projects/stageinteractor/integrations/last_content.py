"""The content of a third-party detector's queries: the input of its last class head.

Libraries name and share their class heads differently, so the head is recognised by its result: it
is the linear layer whose output is the logits that the model returns.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UnsupportedHostError


class LastContent:
    """Records calls of the linear layers that may be the last class head.

    Args:
        model: a model with linear class heads.
        num_classes: C; heads have C outputs, or C + 1 with one for "none".
    """

    def __init__(self, model: nn.Module, num_classes: int) -> None:
        self.heads = [
            module
            for module in model.modules()
            if isinstance(module, nn.Linear) and module.out_features - num_classes in (0, 1)
        ]
        self.calls: list[tuple[Tensor, Tensor]] = []

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record the calls within the block, and forget them after it."""

        def record(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            self.calls.append((inputs[0], output))

        with ExitStack() as stack:
            for head in self.heads:
                stack.callback(head.register_forward_hook(record).remove)
            try:
                yield
            finally:
                self.calls = []

    def of(self, logits: Tensor) -> Tensor:
        """Return the content (B, N, D) from which the model computed logits (B, N, C).

        It is the input of the last call that returned these logits; else of the last one with
        logits of this shape, as D-FINE adds an estimate of quality to those of its head.

        Raises:
            UnsupportedHostError: no recorded layer has returned logits of this shape.
        """
        similar: list[Tensor] = []
        for content, output in reversed(self.calls):
            if output.dim() == 4:  # all stages at once, (S, B, N, C), as in DETR
                content, output = content[-1], output[-1]
            if output.shape == logits.shape:
                if torch.equal(output, logits):
                    return content
                similar.append(content)
        if similar:
            return similar[0]
        raise UnsupportedHostError(
            f"none of {len(self.heads)} linear layers returns logits {tuple(logits.shape)}: "
            "duplicate removal needs the input of the last class head"
        )
