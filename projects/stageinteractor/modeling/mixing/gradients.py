"""Gradients of the functions of `ops`, for a chunk of matrices on a CPU.

Written out, they are fewer passes over a chunk than torch's own backward pass makes: no ReLU and no
complement of the gates, and the gradient of a gate is a product with a column instead of a sum over
a matrix of products. Intermediate results of the forward pass are computed again.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .ops import (
    blend_filters,
    mix_channels,
    mix_channels_blended,
    mix_points,
    mix_points_blended,
)


def joint_norm_relu_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """Return the gradient (M, R, K) of what `joint_norm_relu` was given, x (M, R, K)."""
    shape = x.shape[-2:]
    normalised, mean, rstd = torch.native_layer_norm(x, shape, None, None, 1e-5)
    grad = torch.ops.aten.threshold_backward(grad, normalised, 0)
    needed = [True, False, False]  # there are no weights
    gradients: tuple[Tensor, ...] = torch.ops.aten.native_layer_norm_backward(
        grad, x, shape, mean, rstd, None, None, needed
    )
    return gradients[0]


def mix_channels_gradients(
    grad: Tensor, x: Tensor, filters: Tensor, bias: Tensor
) -> tuple[Tensor, ...]:
    """Return the gradients of the operands of `mix_channels`; ``grad`` is (M, P, Dc)."""
    grad = joint_norm_relu_gradient(grad, torch.baddbmm(bias, x, filters))
    return torch.bmm(grad, filters.mT), torch.bmm(x.mT, grad), grad.sum(1, keepdim=True)


def mix_points_gradients(
    grad: Tensor, x: Tensor, filters: Tensor, bias: Tensor
) -> tuple[Tensor, ...]:
    """Return the gradients of the operands of `mix_points`; ``grad`` is (M, O, Dc)."""
    grad = joint_norm_relu_gradient(grad, torch.baddbmm(bias, filters, x))
    return torch.bmm(filters.mT, grad), torch.bmm(grad, x.mT), grad.sum(2, keepdim=True)


def blend_filters_gradients(
    grad: Tensor, own: Tensor, reused: Tensor, row_gate: Tensor, column_gate: Tensor
) -> tuple[Tensor, ...]:
    """Return the gradients of the operands of `blend_filters`; ``grad`` is (M, R, K)."""
    reused_grad = grad * (row_gate * column_gate)
    gate_grad = (reused - own).mul_(grad)
    row_grad, column_grad = torch.bmm(gate_grad, column_gate.mT), torch.bmm(row_gate.mT, gate_grad)
    return grad - reused_grad, reused_grad, row_grad, column_grad


def mix_channels_blended_gradients(
    grad: Tensor, x: Tensor, bias: Tensor, *blended: Tensor
) -> tuple[Tensor, ...]:
    """Return the gradients of the operands of `mix_channels_blended`; ``grad`` is (M, P, Dc)."""
    filters = blend_filters(*blended)
    x_grad, filters_grad, bias_grad = mix_channels_gradients(grad, x, filters, bias)
    return x_grad, bias_grad, *blend_filters_gradients(filters_grad, *blended)


def mix_points_blended_gradients(
    grad: Tensor, x: Tensor, bias: Tensor, *blended: Tensor
) -> tuple[Tensor, ...]:
    """Return the gradients of the operands of `mix_points_blended`; ``grad`` is (M, 2 O', Dc)."""
    filters = torch.cat([blended[0], blend_filters(*blended)], dim=1)
    x_grad, filters_grad, bias_grad = mix_points_gradients(grad, x, filters, bias)
    own_grad, blended_grad = filters_grad.chunk(2, dim=1)
    through_blend, *others = blend_filters_gradients(blended_grad, *blended)
    return x_grad, bias_grad, own_grad + through_blend, *others


GRADIENTS: dict[Callable[..., Tensor], Callable[..., tuple[Tensor, ...]]] = {
    mix_channels: mix_channels_gradients,
    mix_points: mix_points_gradients,
    mix_channels_blended: mix_channels_blended_gradients,
    mix_points_blended: mix_points_blended_gradients,
}
