"""A linear layer that keeps no rounded weights computes what torch's does."""

import pytest
import torch
from torch import Tensor, nn

from stageinteractor.modeling.complexity import kept_for_backward
from stageinteractor.modeling.recast_linear import RecastLinear


@pytest.fixture
def layers() -> tuple[nn.Linear, RecastLinear]:
    """torch's layer and ours, with equal weights."""
    torch.manual_seed(0)
    plain, recast = nn.Linear(64, 48), RecastLinear(64, 48)
    recast.load_state_dict(plain.state_dict())
    return plain, recast


def run(layer: nn.Linear, x: Tensor, enabled: bool) -> list[Tensor]:
    """The output, and the gradients of input, weight and bias."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        output = layer(x)
    above = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    return [output, *torch.autograd.grad(output, [x, layer.weight, layer.bias], above)]


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("shape", [(5,), (2, 3)])
def test_values_and_gradients_are_those_of_linear(layers, shape, enabled):
    x = torch.randn(*shape, 64)
    expected, actual = (run(layer, x, enabled) for layer in layers)
    tolerance = 0.01 if enabled else 0.0
    for one, other in zip(actual, expected, strict=True):
        assert one.dtype == other.dtype
        atol = tolerance * other.abs().max().item()
        torch.testing.assert_close(one, other, rtol=tolerance, atol=atol)


@pytest.mark.parametrize("shape", [(64,), (3, 64)])
@pytest.mark.parametrize("bias", [True, False])
def test_vectors_and_layers_without_bias_are_taken(shape, bias):
    layer = RecastLinear(64, 48, bias=bias)
    x = torch.randn(shape, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x)
    output.float().sum().backward()
    assert output.shape == (*shape[:-1], 48)
    torch.testing.assert_close(
        x.grad, layer.weight.sum(0).detach().expand(shape), rtol=0.02, atol=0.02
    )
    assert layer.weight.grad is not None


def test_autocast_leaves_float64_as_it_is(layers):
    x = torch.randn(5, 64).double()
    with torch.autocast("cpu", torch.bfloat16):
        plain, recast = (layer.double()(x) for layer in layers)
    assert torch.equal(recast, plain)
    assert recast.dtype == torch.float64


def test_no_rounded_weights_are_kept(layers):
    x = torch.randn(5, 64, dtype=torch.bfloat16, requires_grad=True)

    def kept(layer: nn.Linear) -> int:
        with torch.autocast("cpu", torch.bfloat16):
            return kept_for_backward(lambda: layer(x), [x, *layer.parameters()])

    plain, recast = layers
    assert kept(plain) >= 2 * plain.weight.numel()
    assert kept(recast) == 0


def test_frozen_parameters_get_no_gradient(layers):
    _, layer = layers
    layer.weight.requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.randn(5, 64)).sum().backward()
    assert layer.weight.grad is None
    assert layer.bias.grad is not None


def test_inference_is_that_of_linear(layers):
    plain, recast = layers
    x = torch.randn(5, 64)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(recast(x), plain(x))
