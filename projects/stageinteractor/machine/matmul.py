"""float32 products on CPUs: by oneDNN where that is faster and as exact as torch's default.

torch multiplies float32 matrices with MKL, which on AMD processors does half of what the machine
can; `torch.set_float32_matmul_precision("medium")` sends linear, matmul and bmm, forward and
backward, to oneDNN. On some processors that keeps float32, on others (with AMX) it rounds to
bfloat16. So one product is compared with float64, and timed, before the switch is taken.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

import torch

from ..errors import ConfigError

logger = logging.getLogger(__name__)
SETTINGS = ("auto", "onednn", "default")
ENVIRONMENT = "STAGEINTERACTOR_CPU_MATMUL"
EXACT = 5e-6  # largest error over the largest value; float32 has 5e-7 here, bfloat16 2e-3
FASTER = 1.2
SHAPE = (128, 1024, 1024)  # rows, columns, inner size: 0.27 GFLOP
REPEATS = 8  # the least of so many is hardly disturbed, so that every run decides the same


class Trial(NamedTuple):
    """oneDNN beside torch's default on this processor."""

    error: float  # largest difference from float64 over the largest value
    speedup: float  # time of the default over that of oneDNN

    @property
    def exact(self) -> bool:
        """Whether the result is float32."""
        return self.error <= EXACT


@contextmanager
def onednn_products() -> Iterator[None]:
    """Send float32 products on CPUs to oneDNN within the block."""
    with _precision_restored():
        torch.set_float32_matmul_precision("medium")
        yield


@contextmanager
def products_of_commands(setting: str = "auto") -> Iterator[str]:
    """Multiply within the block as a command with this setting does; the value is its log line."""
    with _precision_restored():
        yield set_cpu_matmul(setting)


@contextmanager
def _precision_restored() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@cache
@torch.no_grad()
def trial() -> Trial:
    """Multiply two matrices both ways, once per process: less than 0.1 s."""
    a, b = random_factors()
    exact = a[:8].double() @ b.double()  # (8, columns)
    with onednn_products():
        product = a @ b  # the first call also builds the kernel
    error = (product[:8].double() - exact).abs().max() / exact.abs().max()
    default = onednn = float("inf")
    for _ in range(REPEATS):  # in turn, so that other processes disturb both
        default = min(default, seconds_of_product(a, b))
        with onednn_products():
            onednn = min(onednn, seconds_of_product(a, b))
    return Trial(float(error), default / onednn)


def random_factors() -> tuple[torch.Tensor, torch.Tensor]:
    """Return two float32 matrices of a size that the decoder has, the same in every process."""
    rows, columns, inner = SHAPE
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(rows, inner, generator=generator)
    return a, torch.randn(inner, columns, generator=generator)


def seconds_of_product(a: torch.Tensor, b: torch.Tensor) -> float:
    """Multiply two matrices and return how long it took."""
    start = time.perf_counter()
    torch.mm(a, b)
    return time.perf_counter() - start


def set_cpu_matmul(setting: str = "auto", agree: Callable[[bool], bool] = bool) -> str:
    """Choose how float32 matrices are multiplied on CPUs, for this process; return a log line.

    Nothing changes where torch sees a GPU, because the same switch changes its products too, nor
    where the user has already called `torch.set_float32_matmul_precision`.

    Args:
        setting: "auto" takes oneDNN if it is exact and faster; "onednn" takes it in any case;
            "default" leaves torch as it is. The environment variable STAGEINTERACTOR_CPU_MATMUL
            takes precedence.
        agree: called once, with whether this process would take oneDNN; returns whether it does.
            The ranks of a training pass one that returns the same to all.

    Raises:
        ConfigError: another setting.
    """
    setting = os.environ.get(ENVIRONMENT) or setting
    if setting not in SETTINGS:
        raise ConfigError(f"train.cpu_matmul is {setting!r}: choose from {', '.join(SETTINGS)}")
    takes_onednn, reason = _choose(setting)
    if agree(takes_onednn):
        torch.set_float32_matmul_precision("medium")
    elif takes_onednn:
        reason = "torch's default, as in another process of this training"
    return f"float32 products: {reason}"


def _choose(setting: str) -> tuple[bool, str]:
    """Return whether this process would take oneDNN, and its choice in words."""
    if setting == "default" or torch.cuda.is_available():
        return False, "torch's default"
    if torch.get_float32_matmul_precision() != "highest":
        return False, f"precision {torch.get_float32_matmul_precision()!r}, as it was"
    result = trial()
    if setting == "auto" and not result.exact:
        return False, f"torch's default (oneDNN rounds to bfloat16, error {result.error:.0e})"
    speed = f"oneDNN is {result.speedup:.1f} times as fast"
    if setting == "auto" and result.speedup < FASTER:
        return False, f"torch's default ({speed})"
    if not result.exact:
        logger.warning("oneDNN rounds float32 products to bfloat16 on this processor")
    return True, f"oneDNN ({speed}, error {result.error:.0e})"
