"""The variants that only the paper's ablations use, against plain loops."""

import torch
import torch.nn.functional as F
from torch import nn

from stageinteractor.modeling.decoders.adamixer import (
    GroupInitialisedSampler,
    PlainSampler,
    VanillaSampler,
)
from stageinteractor.modeling.mixing.static_mixing import StaticMixing
from stageinteractor.modeling.mixing.static_variants import (
    ChannelStaticMixing,
    NoStaticMixing,
    SpatialStaticMixing,
    StaticCascade,
)

SIZES = dict(width=4, point_groups=2, points_per_group=3)


def randomised(module):
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module.double()


def test_channels_are_mixed_point_by_point():
    mixing, h = randomised(ChannelStaticMixing(**SIZES)), torch.randn(2, 6, 4).double()
    expected = torch.stack(
        [torch.stack([mixing.channels(point) for point in matrix]) for matrix in h]
    )
    torch.testing.assert_close(mixing(h), expected)


def test_points_are_mixed_channel_by_channel():
    mixing, h = randomised(SpatialStaticMixing(**SIZES)), torch.randn(2, 6, 4).double()
    expected = torch.stack(
        [torch.stack([mixing.points(matrix[:, c]) for c in range(4)], 1) for matrix in h]
    )
    torch.testing.assert_close(mixing(h), expected)


def test_static_cascade_mixes_with_its_own_filter():
    sizes = dict(embed_dim=8, num_groups=2, point_groups=2, points_per_group=3)
    cascade = randomised(StaticCascade(**sizes, num_reused=2, static_mixing=StaticMixing))
    content = torch.randn(1, 3, 8).double()  # 3 queries x 2 groups = 6 matrices
    x, h, own = (torch.randn(6, *shape).double() for shape in ((6, 4), (6, 4), (4, 4)))
    actual = cascade(x, h, content, own, ())
    biases = cascade.biases(content).view(6, 2, 4)
    for matrix in range(6):
        z, now = x[matrix], h[matrix]
        for step in range(2):
            z = z + cascade.static[step](now[None])[0]
            now = F.relu(F.layer_norm(z @ own[matrix] + biases[matrix, step], (6, 4)))
        torch.testing.assert_close(actual[matrix], now)


def test_vanilla_sampling_is_adamixers_with_k_times_j_points():
    torch.manual_seed(0)
    vanilla = VanillaSampler(embed_dim=8, num_groups=2, point_groups=2, points_per_group=3)
    assert isinstance(vanilla, PlainSampler)
    assert vanilla.offsets.out_features == 2 * 2 * 3 * 3


def test_group_initialised_points_are_sums_of_two_levels():
    """Point (k, j) begins at first(k) + second(j), and second(0) = 0: its rows differ by first."""
    torch.manual_seed(0)
    sampler = GroupInitialisedSampler(embed_dim=8, num_groups=2, point_groups=2, points_per_group=3)
    bias = sampler.offsets.bias.view(2, 2, 3, 3)  # group, k, j, (x, y, z)
    steps = bias[:, :, 1:, :2] - bias[:, :, :1, :2]
    torch.testing.assert_close(steps, steps[:1, :1].expand_as(steps))
    assert bias[..., :2].abs().max() <= 0.5 + 0.5 / 2**0.5
    assert (bias[..., 2] == -1).all()


def test_nothing_is_added_without_static_mixing():
    assert not NoStaticMixing(**SIZES)(torch.randn(2, 6, 4)).any()
