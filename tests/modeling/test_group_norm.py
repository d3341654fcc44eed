"""GroupNorm with as many groups as channels, down to a map of one cell."""

import pytest
import torch
from torch import nn

from stageinteractor.modeling import ChannelMapper
from stageinteractor.modeling.group_norm import GroupNorm


def norms(groups: int, channels: int) -> tuple[GroupNorm, nn.GroupNorm]:
    torch.manual_seed(0)
    ours, torchs = GroupNorm(groups, channels), nn.GroupNorm(groups, channels)
    with torch.no_grad():
        ours.weight.normal_()
        ours.bias.normal_()
    torchs.load_state_dict(ours.state_dict())
    return ours, torchs


@pytest.mark.parametrize("shape", [(2, 8, 3, 4), (1, 8, 2, 1), (3, 8, 5)])
@pytest.mark.parametrize("groups", [1, 4, 8])
def test_values_and_names_are_torch_s(groups: int, shape: tuple[int, ...]):
    ours, torchs = norms(groups, 8)
    x = torch.randn(*shape)
    assert torch.equal(ours(x), torchs(x))


def test_a_group_of_one_value_becomes_the_bias():
    ours, torchs = norms(8, 8)
    x = torch.randn(1, 8, 1, 1, requires_grad=True)
    with pytest.raises(ValueError, match="more than 1 value"):
        torchs(x)
    y = ours(x)
    torch.testing.assert_close(y.flatten(), ours.bias, rtol=0, atol=1e-4)  # 316 = 1 / sqrt(eps)
    y.square().sum().backward()
    assert all(each.grad.isfinite().all() for each in (x, ours.weight, ours.bias))


def test_the_neck_takes_an_image_of_one_coarse_cell():
    neck = ChannelMapper(in_channels=(3,), in_features=("a",), out_channels=32, num_groups=32)
    (one,) = neck({"a": torch.randn(1, 3, 1, 1)})
    assert one.shape == (1, 32, 1, 1) and one.isfinite().all()
