"""Functions of many small matrices, computed on CPUs a chunk of matrices at a time.

Between the linear layers of dynamic mixing every step works on B N G matrices independently.
Computed at once, all matrices pass through memory for every operation; a chunk passes once, because
its intermediate results stay in a core's cache. The backward pass recomputes them chunk by chunk:
less memory, and less time than reading them would take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .gradients import GRADIENTS

CHUNK_ENTRIES = 2**18  # of the largest operand: a megabyte in float32


def chunked_apply(function: Callable[..., Tensor], *operands: Tensor) -> Tensor:
    """Return ``function(*operands)``.

    On other devices than CPUs, and under `torch.compile`, the function is just called.

    Args:
        function: of tensors (M, ...) to a tensor (M, ...), that treats rows independently; one of
            `ops`, whose gradients are known (`gradients.GRADIENTS`), where they are asked for.
        operands: tensors of equal M.
    """
    if operands[0].device.type != "cpu" or torch.compiler.is_compiling():
        return function(*operands)
    result: Tensor = _ChunkedApply.apply(function, *operands)
    return result


class _ChunkedApply(torch.autograd.Function):
    """`chunked_apply` on a CPU: keeps the operands and nothing else."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], *operands: Tensor) -> Tensor:
        ctx.function = function
        ctx.autocast = torch.get_autocast_dtype("cpu"), torch.is_autocast_enabled("cpu")
        ctx.save_for_backward(*operands)
        result = _Output(len(operands[0]))
        for chunk in _chunks(operands):
            result.append(function(*chunk))
        return result.tensor

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        dtype, enabled = ctx.autocast
        needed = ctx.needs_input_grad[1:]
        operands = ctx.saved_tensors
        grads = [_Output(len(grad), operand.dtype) for operand in operands]
        for chunk in _chunks([grad, *operands]):
            with torch.autocast("cpu", dtype, enabled=enabled):
                chunk_grads = GRADIENTS[ctx.function](*chunk)
            for rows, chunk_grad, need in zip(grads, chunk_grads, needed, strict=True):
                if need:
                    rows.append(chunk_grad)
        return None, *(
            rows.tensor if need else None for rows, need in zip(grads, needed, strict=True)
        )


class _Output:
    """A tensor that is filled chunk by chunk.

    Args:
        count: its rows.
        dtype: its type, by default that of the first chunk.
    """

    tensor: Tensor

    def __init__(self, count: int, dtype: torch.dtype | None = None) -> None:
        self.count = count
        self.dtype = dtype
        self.filled = 0

    def append(self, chunk: Tensor) -> None:
        """Fill the next rows; the first chunk sets the size of a row."""
        if not self.filled:
            self.tensor = chunk.new_empty(self.count, *chunk.shape[1:], dtype=self.dtype)
        self.tensor[self.filled : self.filled + len(chunk)] = chunk
        self.filled += len(chunk)


def _chunks(operands: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
    """Split tensors of equal length into chunks of at most `CHUNK_ENTRIES` entries."""
    entries = max(operand[:1].numel() for operand in operands)
    rows = max(1, CHUNK_ENTRIES // max(1, entries))
    return zip(*(operand.split(rows) for operand in operands), strict=True)
