"""The roofline bound of a call on this machine.

It is the larger of two times: the floating-point operations (products and convolutions) at the rate
of a large matrix product by the fastest exact library, and the minimum bytes to move (inputs read
once, outputs written once) at the rate of a large copy. All rates are measured. Recomputations in a
backward pass count. A small part whose data stay in the caches can be faster.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from stageinteractor.machine.matmul import onednn_products, trial
from stageinteractor.modeling.complexity import UNKNOWN_TO_TORCH

from .timing import interleaved

SIDE = {"cpu": 1024, "cuda": 8192}  # of the square matrices
BUFFER = {"cpu": 2**27, "cuda": 2**30}  # bytes: far more than the caches hold


class Rates(NamedTuple):
    """Rates of the machine, per second."""

    flops: float  # of a large matrix product; 2 for a multiplication with its addition
    bytes: float  # of a large copy, read and written

    def bound(self, flops: float, moved: float) -> float:
        """Return the minimum seconds for a number of operations and of bytes moved."""
        return max(flops / self.flops, moved / self.bytes)


def measure_rates(device: torch.device, dtype: torch.dtype, repeats: int = 15) -> Rates:
    """Measure both rates, each by the best of some runs, with the threads that torch has now.

    That of products is the rate of the fastest library (`products`).
    """
    side = SIDE[device.type]
    left, right = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    source = torch.ones(BUFFER[device.type], dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    runs = [*products(left, right), lambda: target.copy_(source)]
    *multiplied, copies = interleaved(runs, device, repeats=repeats)
    fastest = min(min(timing.seconds) for timing in multiplied)
    return Rates(2 * side**3 / fastest, 2 * len(source) / min(copies.seconds))


def products(left: Tensor, right: Tensor) -> list[Callable[[], Tensor]]:
    """Return the ways to multiply two matrices: torch's own, and in float32 on CPUs oneDNN's.

    oneDNN is called directly, and by torch's switch where that keeps float32.
    """
    ways = [lambda: torch.mm(left, right)]
    if left.device.type != "cpu" or left.dtype != torch.float32:
        return ways
    if torch.backends.mkldnn.is_available():
        transposed = right.t()
        pointwise = torch.ops.mkldnn._linear_pointwise
        ways.append(lambda: pointwise(left, transposed, None, "none", [], ""))
    if trial().exact:
        ways.append(lambda: _by_switch(left, right))
    return ways


def _by_switch(left: Tensor, right: Tensor) -> Tensor:
    with onednn_products():
        return torch.mm(left, right)


def _convolution_backward_flops(
    grad: Any, x: Any, weight: Any, *args: Any, out_shape: Any, **__: Any
) -> int:
    """Count a convolution's backward pass: each gradient costs what the forward pass does.

    torch's own count ignores groups: for a depthwise convolution it is many times too large.
    """
    transposed, mask = args[4], args[-1]
    forward = 2 * math.prod(x if transposed else grad) * math.prod(weight[1:])
    return forward * sum(mask[:2])  # of input and weight; that of the bias is a sum


def count_flops(run: Callable[[], Any]) -> int:
    """Return the floating-point operations of a call: products and convolutions."""
    backward = {torch.ops.aten.convolution_backward: _convolution_backward_flops}
    with FlopCounterMode(display=False, custom_mapping=UNKNOWN_TO_TORCH | backward) as counter:
        run()
    return counter.get_total_flops()


def size_of(tree: Any) -> int:
    """Return the bytes of all tensors in nested containers; shared memory counts once."""
    views: dict[int, int] = defaultdict(int)
    storages: dict[int, int] = {}
    for tensor in tree_leaves(tree):
        if isinstance(tensor, Tensor) and tensor.numel():
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            views[storage.data_ptr()] += tensor.numel() * tensor.element_size()
    return sum(min(views[address], size) for address, size in storages.items())
