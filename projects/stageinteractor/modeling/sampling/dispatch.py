"""How features are sampled: by `embedding_bag` on CPUs, `triton` on GPUs, `reference` elsewhere.

`choose_backend` decides. `prepare_features` brings the features into the form that the backend
reads, once for all stages; `sample` reads either form. All backends compute what
`reference.sample_levels` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import triton
from .embedding_bag import sample_maps, sample_rows, sample_rows_backward
from .flattened import FlattenedFeatures, Level, flatten_maps
from .reference import sample_levels

Backend = Literal["reference", "embedding_bag", "triton"]
Features = Sequence[Tensor] | FlattenedFeatures  # L maps (B, D, H_l, W_l), or flattened


class Sampler(Protocol):
    """Places sampling points for every query and samples there, as `GroupedSampler` does."""

    def __call__(
        self, features: Features, content: Tensor, boxes_xyzr: Tensor
    ) -> tuple[Tensor, Features]:
        """Return sampled features (B, N, G, P, Dc), and the same features for the next call.

        They are to be passed to it so that all stages accumulate gradients in one buffer.

        Args:
            features: of all levels.
            content: (B, N, D).
            boxes_xyzr: (B, N, 4).
        """


def choose_backend(tensor: Tensor) -> Backend:
    """Return how features on the device of this tensor are sampled.

    Under `torch.compile` and export it is the reference, which can be traced.
    """
    if torch.compiler.is_compiling():
        return "reference"
    if triton.is_available(tensor):
        return "triton"
    return "embedding_bag" if tensor.device.type == "cpu" else "reference"


def prepare_features(maps: Sequence[Tensor], dtype: torch.dtype) -> Features:
    """Return L maps (B, D, H_l, W_l) in the form that the backend reads: as they are or flattened.

    For inference on a CPU, maps with channels last need no copy, which would be as large as they.

    Flattened features, and with them the samples, are of type ``dtype``; on a CPU under autocast
    they are of the type of its products, for which they would be rounded anyway.

    Args:
        maps: to be sampled.
        dtype: of the positions they are sampled at, and of the gradient of flattened features.
    """
    backend = choose_backend(maps[0])
    if backend == "reference":
        return maps
    rounded = backend == "embedding_bag" and torch.is_autocast_enabled("cpu")
    rows_dtype = torch.get_autocast_dtype("cpu") if rounded else dtype
    if maps[0].dtype == rows_dtype and _are_read_in_place(maps):
        return maps
    return flatten_maps(maps, rows_dtype, dtype)


def _are_read_in_place(maps: Sequence[Tensor]) -> bool:
    """Return whether maps are sampled without a copy: on a CPU, channels last, no gradient."""
    return (
        not torch.is_grad_enabled()
        and choose_backend(maps[0]) == "embedding_bag"
        and all(x.is_contiguous(memory_format=torch.channels_last) for x in maps)
    )


def sample(
    features: Features, positions: Tensor, weights: Tensor, strides: Sequence[int]
) -> tuple[Tensor, Features]:
    """Sample features in either form as `sample_levels` does.

    Returns:
        The samples, and the same features, to be passed to the next call so that all stages
        accumulate gradients in one buffer.
    """
    if isinstance(features, FlattenedFeatures):
        return sample_flattened(features, positions, weights, strides)
    if _are_read_in_place(features):
        return sample_maps(features, positions, weights, strides), features
    return sample_levels(features, positions, weights, strides), features


def sample_flattened(
    features: FlattenedFeatures, positions: Tensor, weights: Tensor, strides: Sequence[int]
) -> tuple[Tensor, FlattenedFeatures]:
    """Sample all levels of flattened features bilinearly (zero outside), weighted and summed.

    Args:
        features: of B images.
        positions: (B, N, G, P, 2), x and y in pixels of the padded image.
        weights: (B, N, G, P, L).
        strides: pixels per cell of each level.

    Returns:
        (B, N, G, P, Dc) in the type of the features (on GPUs, of ``positions``), and the same
        features, to be passed to the next call: all stages accumulate into one gradient buffer
        instead of one per stage.
    """
    sampled, grad_path = _Sampling.apply(
        features.grad_path,
        features.rows,
        positions,
        weights,
        features.levels(strides),
    )
    return sampled, features._replace(grad_path=grad_path)


class _Sampling(torch.autograd.Function):
    """(path of the gradient, rows, positions, weights, levels) -> (sampled, the same path)."""

    @staticmethod
    def forward(
        ctx: Any,
        grad_path: Tensor,
        rows: Tensor,
        positions: Tensor,
        weights: Tensor,
        levels: tuple[Level, ...],
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.grad_dtype = grad_path.dtype
        ctx.save_for_backward(rows, positions, weights)
        ctx.levels = levels
        sample = triton.sample if choose_backend(rows) == "triton" else sample_rows
        return sample(rows, positions, weights, levels), grad_path

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None, rows_grad: Tensor | None) -> tuple[Any, ...]:
        if grad is None:
            return rows_grad, None, None, None, None
        rows, positions, weights = ctx.saved_tensors
        if not ctx.needs_input_grad[0]:
            rows_grad = None
        elif rows_grad is None:  # the last one to have sampled makes the buffer
            rows_grad = torch.zeros_like(rows, dtype=ctx.grad_dtype)
        use_triton = choose_backend(rows) == "triton"
        backward = triton.sample_backward if use_triton else sample_rows_backward
        points = backward(grad.contiguous(), rows, positions, weights, ctx.levels, rows_grad)
        return rows_grad, None, *points, None
