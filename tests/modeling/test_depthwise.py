"""Depthwise convolutions under bfloat16 autocast on CPUs: float32, in training only."""

import torch
from torch import Tensor, nn

from stageinteractor.modeling.backbones.depthwise import float32_depthwise

CPU = torch.device("cpu")


def convolve(layer: nn.Conv2d, images: Tensor, *, train: bool = True) -> Tensor:
    autocast = torch.autocast("cpu", torch.bfloat16)
    with autocast, torch.set_grad_enabled(train), float32_depthwise(CPU):
        result: Tensor = layer(images)
    return result


def test_depthwise_filters_are_rounded_once_at_the_end():
    layer = nn.Conv2d(6, 6, 5, padding=2, groups=6)
    images = torch.randn(2, 6, 9, 8)
    maps = convolve(layer, images)
    assert maps.dtype == torch.bfloat16
    assert torch.equal(maps, layer(images).bfloat16())


def test_gradients_are_those_of_float32():
    layer = nn.Conv2d(4, 4, 3, stride=2, groups=4)
    images = torch.randn(1, 4, 9, 9, requires_grad=True)
    weights = torch.randn(1, 4, 4, 4).bfloat16()
    inputs = [images, layer.weight]
    grads = torch.autograd.grad((convolve(layer, images) * weights).sum(), inputs)
    expected = torch.autograd.grad((layer(images) * weights).sum(), inputs)
    for grad, value in zip(grads, expected, strict=True):
        torch.testing.assert_close(grad, value)


def test_other_filters_and_inference_keep_autocast():
    images = torch.randn(2, 6, 9, 8)
    for layer, train in [
        (nn.Conv2d(6, 6, 3), True),
        (nn.Conv2d(6, 6, 3, groups=2), True),
        (nn.Conv2d(6, 6, 3, groups=6), False),
    ]:
        with torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(train):
            expected = layer(images)
        assert torch.equal(convolve(layer, images, train=train), expected)


def test_one_channel_is_no_depthwise_convolution():
    images = torch.randn(1, 1, 5, 5)
    layer = nn.Conv2d(1, 1, 3)
    with torch.autocast("cpu", torch.bfloat16):
        expected = layer(images)
    assert torch.equal(convolve(layer, images), expected)


def test_nothing_changes_without_autocast():
    layer = nn.Conv2d(4, 4, 3, groups=4)
    images = torch.randn(1, 4, 5, 5)
    with float32_depthwise(CPU):
        assert torch.equal(layer(images), layer(images))
        assert layer(images).dtype == torch.float32
