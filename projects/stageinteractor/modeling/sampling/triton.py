"""Sampling of flattened features by Triton kernels, for GPUs: all levels in one pass, and back.

Computes what `reference.sample_levels` does. These functions are not differentiable themselves:
`dispatch` makes one autograd function of them. `triton_kernels` explains the kernels. Triton comes
with torch on Linux. If its interpreter is on when the kernels are imported, they run on CPU
tensors, slowly, for tests.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from packaging.version import Version
from torch import Tensor

from .flattened import Level

OLDEST_TRITON = "3.5"


def is_available(tensor: Tensor) -> bool:
    """Return whether the kernels can run on the device of this tensor."""
    return (tensor.is_cuda or is_interpreted()) and _triton_is_usable()


def is_interpreted() -> bool:
    """Return whether Triton is imported with its interpreter on."""
    triton = sys.modules.get("triton")  # imported by whoever turns the interpreter on
    return triton is not None and _triton_is_usable() and bool(triton.knobs.runtime.interpret)


@cache
def _triton_is_usable() -> bool:
    """Return whether Triton is installed, and new enough to take tuples of numbers."""
    try:
        import triton
    except ImportError:
        return False
    return Version(triton.__version__) >= Version(OLDEST_TRITON)


def sample(features: Tensor, positions: Tensor, weights: Tensor, levels: Sequence[Level]) -> Tensor:
    """Sample all levels bilinearly (zero outside) and add them up by weight.

    Args:
        features: (B, R, D) of any floating-point type; a row is a cell, level follows level.
        positions: (B, N, G, P, 2), x and y in pixels; float32 or float64.
        weights: (B, N, G, P, L).
        levels: where they lie in the flattened features.

    Returns:
        (B, N, G, P, Dc) in the type of ``positions``, which is that of the sums as well.
    """
    sampled = positions.new_empty(*positions.shape[:-1], features.shape[2] // positions.shape[2])
    if sampled.numel():
        from .triton_kernels import sample_kernel

        inputs = (x.contiguous() for x in (features, positions, weights))
        _launch(
            sample_kernel, *inputs, sampled, shape=sampled.shape, features=features, levels=levels
        )
    return sampled


def sample_backward(
    grad: Tensor,
    features: Tensor,
    positions: Tensor,
    weights: Tensor,
    levels: Sequence[Level],
    features_grad: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return the gradients of positions and weights; add that of the features in place.

    Args:
        grad: (B, N, G, P, Dc), of what `sample` returned.
        features: as in `sample`; so are ``positions``, ``weights`` and ``levels``.
        features_grad: (B, R, D), float32 or float64 and contiguous, to which the gradient is added;
            None if the features need none. The order of the additions, and with it the last
            digits, differs from run to run.

    Raises:
        ValueError: ``features_grad`` is not contiguous, or of half precision, in which many small
            terms would be lost.
    """
    if features_grad is not None and not (
        features_grad.is_contiguous() and features_grad.itemsize >= 4
    ):
        raise ValueError(
            "features_grad must be contiguous and float32 or float64, "
            f"but has strides {features_grad.stride()} and type {features_grad.dtype}"
        )
    grad, positions, weights = (x.contiguous() for x in (grad, positions, weights))
    positions_grad, weights_grad = torch.empty_like(positions), torch.empty_like(weights)
    if grad.numel():
        from .triton_kernels import features_backward_kernel, points_backward_kernel

        where: dict[str, Any] = dict(shape=grad.shape, features=features, levels=levels)
        inputs = grad, features.contiguous(), positions, weights
        _launch(points_backward_kernel, *inputs, positions_grad, weights_grad, **where)
        if features_grad is not None:
            _launch(features_backward_kernel, grad, positions, weights, features_grad, **where)
    return positions_grad, weights_grad


def _launch(
    kernel: Any, *tensors: Tensor, shape: Sequence[int], features: Tensor, levels: Sequence[Level]
) -> None:
    """Run a kernel over all points of samples of shape (B, N, G, P, Dc)."""
    import triton

    from .triton_kernels import encoded

    images, queries, groups, points, width = shape
    total = queries * groups * points
    with torch.cuda.device_of(features):  # Triton runs on the current device
        kernel[lambda config: (triton.cdiv(total, config["BLOCK"]), images)](
            *tensors,
            tuple(tuple(map(encoded, level)) for level in levels),
            features.shape[1],
            total,
            G=groups,
            P=points,
            L=len(levels),
            DC=width,
            TILE=triton.next_power_of_2(width),
        )
