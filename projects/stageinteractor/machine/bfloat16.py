"""Whether a CPU multiplies bfloat16 matrices faster than float32 ones."""

from __future__ import annotations

from functools import cache

import torch

from .matmul import REPEATS, random_factors, seconds_of_product


@cache
@torch.no_grad()
def bfloat16_speedup() -> float:
    """Return the time of a float32 product over that of the same in bfloat16, on this CPU.

    Measured once per process, in less than 0.1 s, with float32 products as they are then
    (`machine.matmul`). Without native bfloat16 it is below 1.
    """
    exact = random_factors()
    rounded = tuple(factor.bfloat16() for factor in exact)
    seconds_of_product(*rounded)  # the first call also builds the kernel
    slow = fast = float("inf")
    for _ in range(REPEATS):  # in turn, so that other processes disturb both
        slow = min(slow, seconds_of_product(*exact))
        fast = min(fast, seconds_of_product(*rounded))
    return slow / fast
