"""Functions of many small matrices, computed on CPUs a block of matrices at a time.

Between the linear layers of dynamic mixing every step works on each of B N G matrices by itself.
All of them together pass through memory once for every operation; a block passes once, because what
is made in between stays in a core's cache. Nothing made in between is kept for the backward pass,
which makes it again, block by block: less memory, and less time than reading it would take.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ENTRIES_AT_ONCE = 2**18  # of the largest operand: a megabyte in float32


def in_blocks(function: Callable[..., Tensor], *operands: Tensor) -> Tensor:
    """Return ``function(*operands)``.

    On other devices than CPUs, and under `torch.compile`, the function is just called.

    Args:
        function: of tensors (M, ...) to a tensor (M, ...), whose rows do not see each other.
        operands: tensors of equal M.
    """
    if operands[0].device.type != "cpu" or torch.compiler.is_compiling():
        return function(*operands)
    return _InBlocks.apply(function, *operands)


class _InBlocks(torch.autograd.Function):
    """`in_blocks` on a CPU: keeps the operands and nothing else."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], *operands: Tensor) -> Tensor:
        ctx.function = function
        ctx.autocast = torch.get_autocast_dtype("cpu"), torch.is_autocast_enabled("cpu")
        ctx.save_for_backward(*operands)
        result = _Rows(len(operands[0]))
        for block in _blocks(operands):
            result.append(function(*block))
        return result.tensor

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        dtype, enabled = ctx.autocast
        needed = ctx.needs_input_grad[1:]
        grads = [_Rows(len(grad)) for _ in needed]
        for above, *block in _blocks([grad, *ctx.saved_tensors]):
            leaves = [
                x.detach().requires_grad_(need) for x, need in zip(block, needed, strict=True)
            ]
            with torch.enable_grad(), torch.autocast("cpu", dtype, enabled=enabled):
                result = ctx.function(*leaves)
            wanted = [leaf for leaf in leaves if leaf.requires_grad]
            found = iter(torch.autograd.grad(result, wanted, above))
            for rows, need in zip(grads, needed, strict=True):
                if need:
                    rows.append(next(found))
        return None, *(
            rows.tensor if need else None for rows, need in zip(grads, needed, strict=True)
        )


class _Rows:
    """A tensor that is filled block by block.

    Args:
        count: its rows.
    """

    tensor: Tensor

    def __init__(self, count: int) -> None:
        self.count = count
        self.filled = 0

    def append(self, block: Tensor) -> None:
        """Fill the next rows; the first block tells the type and the size of a row."""
        if not self.filled:
            self.tensor = block.new_empty(self.count, *block.shape[1:])
        self.tensor[self.filled : self.filled + len(block)] = block
        self.filled += len(block)


def _blocks(operands: Sequence[Tensor]) -> Any:
    entries = max(operand[:1].numel() for operand in operands)
    rows = max(1, ENTRIES_AT_ONCE // max(1, entries))
    return zip(*(operand.split(rows) for operand in operands), strict=True)
