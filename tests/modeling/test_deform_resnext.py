import pytest
import torch
from detectron2.modeling.backbone import BasicStem, ResNet
from torchvision.models.resnet import Bottleneck
from torchvision.models.resnet import ResNet as TorchvisionResNet

from stageinteractor.checkpoint.resnet_names import from_torchvision
from stageinteractor.modeling.backbones import (
    DeformableBottleneck,
    FixedStatsBatchNorm2d,
    resnext_stages,
)


@pytest.fixture
def block():
    torch.manual_seed(0)
    return DeformableBottleneck(16, 32, bottleneck_channels=8, stride=2, num_groups=4).eval()


def plain(block, x):
    """The block with an ordinary 3x3 convolution."""
    out = torch.relu(block.conv1(x))
    out = torch.relu(block.conv2(out))
    return torch.relu(block.conv3(out) + block.shortcut(x))


def test_zero_offsets_are_an_ordinary_convolution(block):
    x = torch.randn(2, 16, 9, 12)
    assert block(x).shape == (2, 32, 5, 6)
    torch.testing.assert_close(block(x), plain(block, x))


def test_an_offset_of_one_pixel_down_reads_the_row_below(block):
    """Offsets are (dy, dx) pairs: dy = 1 for every point moves the input one row up."""
    block.conv2_offset.bias.data[0::2] = 1.0
    y = torch.rand(1, 8, 6, 6)
    moved = torch.cat([y[:, :, 1:], torch.zeros(1, 8, 1, 6)], 2)
    expected = torch.nn.functional.conv2d(moved, block.conv2.weight, stride=2, padding=1, groups=4)
    block.conv1, block.shortcut = torch.nn.Identity(), torch.nn.Conv2d(8, 32, 1, stride=2)
    seen = []
    block.conv2.norm.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    block(y)
    # rows whose window touches the border differ: there zeros are read at another place
    torch.testing.assert_close(seen[0][:, :, 1:-1], expected[:, :, 1:-1])


def test_offsets_get_gradients(block):
    block(torch.randn(1, 16, 8, 8)).square().sum().backward()
    assert block.conv2_offset.weight.grad.abs().sum() > 0


def test_parameters_are_those_of_the_published_resnext():
    body = TorchvisionResNet(Bottleneck, [3, 4, 23, 3], groups=32, width_per_group=4)
    expected = {
        from_torchvision(name): value.shape
        for name, value in body.state_dict().items()
        if not name.startswith("fc.")
    }
    stem = BasicStem(norm=FixedStatsBatchNorm2d)
    ours = ResNet(stem, resnext_stages(norm=FixedStatsBatchNorm2d))
    actual = {name: value.shape for name, value in ours.state_dict().items()}
    offsets = {name for name in actual if "conv2_offset" in name}
    assert len(offsets) == 2 * (4 + 23 + 3)
    assert {name: shape for name, shape in actual.items() if name not in offsets} == expected


def test_a_depth_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="depth"):
        resnext_stages(depth=34)
