import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stageinteractor.modeling.complexity import kept_for_backward
from stageinteractor.modeling.mixing.static_mixing import StaticMixing

# Dc = 4, K = 3, J = 2, P = 6


@pytest.fixture
def mixing(randomise) -> StaticMixing:
    return randomise(StaticMixing(width=4, point_groups=3, points_per_group=2).double())


def noise(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def across_groups(mixing: StaticMixing, points: Tensor) -> Tensor:
    """What the second layer makes of points (..., K, Dc)."""
    layer = mixing.across_groups
    return F.linear(points.flatten(-2), layer.weight, layer.bias).view_as(points)


def by_layers(mixing: StaticMixing, h: Tensor) -> Tensor:
    """The same sum, point by point, from the two layers of a mixing of these sizes."""
    within = [mixing.within_group(h[:, 2 * k : 2 * k + 2].flatten(1)) for k in range(3)]
    across = [across_groups(mixing, h[:, j::2]) for j in range(2)]
    grid = torch.stack(within, 1).view(-1, 3, 2, 4)  # (M, K, J, Dc)
    grid = grid + torch.stack(across, 2)
    return grid.flatten(1, 2)


def test_starts_at_zero():
    mixing = StaticMixing(width=4, point_groups=3, points_per_group=2).double()
    assert torch.equal(mixing(noise(5, 6, 4)), torch.zeros(5, 6, 4).double())


def test_equals_plain_loops(mixing):
    h = noise(2, 6, 4)
    expected = torch.zeros_like(h)
    for row in range(2):
        for k in range(3):  # within the points 2k, 2k + 1
            group = slice(2 * k, 2 * k + 2)
            expected[row, group] += mixing.within_group(h[row, group].flatten()).view(2, 4)
        for j in range(2):  # across the points j, 2 + j, 4 + j
            across = slice(j, 6, 2)
            expected[row, across] += across_groups(mixing, h[row, across])
    torch.testing.assert_close(mixing(h), expected)
    with torch.no_grad():
        torch.testing.assert_close(mixing(h), expected)


@pytest.mark.parametrize("expanded", [True, False])
def test_gradients_are_those_of_the_layers(mixing, expanded):
    h, above = noise(5, 6, 4).requires_grad_(), noise(5, 6, 4, seed=2)
    if expanded:  # as the gradient of a sum is
        above = torch.ones((), dtype=h.dtype).expand_as(h)
    leaves = [h, *mixing.parameters()]
    expected = torch.autograd.grad(by_layers(mixing, h), leaves, above)
    actual = torch.autograd.grad(mixing(h), leaves, above)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_frozen_parameters_get_no_gradient(mixing):
    mixing.requires_grad_(False)
    h = noise(5, 6, 4).requires_grad_()
    mixing(h).sum().backward()
    assert h.grad is not None
    assert all(parameter.grad is None for parameter in mixing.parameters())


def test_under_autocast_it_is_the_layers_with_full_gradients(mixing):
    mixing.float()
    h = noise(5, 6, 4).float().requires_grad_()
    leaves = [h, *mixing.parameters()]
    results = []
    for function in (by_layers, StaticMixing.__call__):
        with torch.autocast("cpu", torch.bfloat16):
            mixed = function(mixing, h)
        results.append([mixed, *torch.autograd.grad(mixed.float().square().sum(), leaves)])
    for expected, actual in zip(*results, strict=True):
        assert actual.dtype == expected.dtype
        torch.testing.assert_close(actual, expected, rtol=5e-2, atol=5e-2)


@pytest.mark.parametrize("autocast", [True, False])
def test_the_copy_in_another_order_is_not_kept(mixing, autocast):
    mixing.float()
    h = noise(5, 6, 4).to(torch.bfloat16 if autocast else torch.float32).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        kept = kept_for_backward(lambda: mixing(h), [h, *mixing.parameters()])
    rounded = 2 * mixing.within_group.weight.numel()  # bytes
    assert kept == (rounded if autocast else 0)


class Wrapper(nn.Module):
    """Adds to a layer, as LoRA does."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer, self.added = layer, nn.Linear(width, width, bias=False).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.added(x)


def test_wrapped_and_replaced_layers_work_in_training_and_inference(mixing):
    """Both wrappers add their weights to those of the layer; then a layer without them is one."""
    h = noise(5, 6, 4).requires_grad_()
    sums = [layer.weight.detach().clone() for layer in mixing.children()]
    mixing.within_group = Wrapper(mixing.within_group, 8)
    mixing.across_groups = Wrapper(mixing.across_groups, 12)
    trained = mixing(h)
    with torch.no_grad():
        torch.testing.assert_close(mixing(h), trained)
    trained.sum().backward()
    layers = list(mixing.children())
    assert all(layer.added.weight.grad.any() for layer in layers)
    for wrapper, weight, name in zip(layers, sums, ("within_group", "across_groups"), strict=True):
        plain = nn.Linear(*weight.shape).double()
        plain.weight.data = weight + wrapper.added.weight
        plain.bias.data = wrapper.layer.bias.detach()
        setattr(mixing, name, plain)
    torch.testing.assert_close(mixing(h), trained)


def test_layers_are_called_in_training(mixing):
    called = []
    for name, layer in mixing.named_children():
        layer.register_forward_hook(lambda *_, name=name: called.append(name))
    mixing(noise(5, 6, 4).requires_grad_())
    assert called == ["within_group", "across_groups"]
