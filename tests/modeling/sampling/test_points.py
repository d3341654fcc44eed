import math

import pytest
import torch

from stageinteractor.modeling.sampling.points import GroupedSampler, level_weights
from stageinteractor.modeling.sampling.reference import sample_levels


def build(**changes) -> GroupedSampler:
    torch.manual_seed(0)
    arguments = dict(embed_dim=8, num_groups=2, point_groups=3, points_per_group=2)
    return GroupedSampler(**(arguments | changes))


def set_offsets(sampler: GroupedSampler, first: list, second: list) -> None:
    with torch.no_grad():
        sampler.first_offsets.bias.copy_(torch.tensor(first).flatten())
        sampler.second_offsets.bias.copy_(torch.tensor(second).flatten())


def test_points_worked_out_by_hand():
    sampler = build(num_groups=1, point_groups=1)
    set_offsets(sampler, [[0.5, 0.25, 1.0]], [[0.0, 0.0, 0.0], [0.25, -0.5, 2.0]])
    box = torch.tensor([10.0, 20.0, 3.0, 2.0]).view(1, 1, 4)  # width 4, height 16
    points = sampler.points(torch.zeros(1, 1, 8), box)
    assert points.shape == (1, 1, 1, 2, 3)
    # j = 0: 10 + 4 * 0.5, 20 + 16 * 0.25, 3 + 1
    # j = 1: 10 + 4 (0.5 + 2^1 * 0.25), 20 + 16 (0.25 - 2^1 * 0.5), 3 + 1 + 2
    assert points[0, 0, 0].tolist() == [[12.0, 24.0, 4.0], [14.0, 8.0, 6.0]]


def test_initial_points_lie_in_the_box_first_ones_centred():
    sampler = build(point_groups=64, points_per_group=32)
    first = sampler.first_offsets.bias.view(-1, 3)
    second = sampler.second_offsets.bias.view(-1, 3)
    assert not sampler.first_offsets.weight.any()
    assert not sampler.second_offsets.weight.any()
    assert not first[:, 2].any()
    assert not second[:, 2].any()
    assert second[0].tolist() == [0.0, 0.0, 0.0]
    assert 0.45 < first[:, :2].abs().max() <= 0.5
    assert 0.3 < second[:, :2].abs().max() <= 0.5 / 2**0.5


def test_level_weights_sum_to_one_and_are_symmetric():
    scales = torch.tensor([[4.5, -20.0], [30.0, 5.2]])
    actual = level_weights(scales, 4)
    assert actual.shape == (2, 2, 4)
    torch.testing.assert_close(actual.sum(-1), torch.ones(2, 2))
    torch.testing.assert_close(actual[0, 0], actual[0, 0].flip(-1))  # 4.5 lies amid 3, 4, 5, 6
    assert actual[0, 1].argmax() == 0
    assert actual[1, 0].argmax() == 3


def sample_with_loops(maps, positions, weights, strides) -> torch.Tensor:
    images, queries, groups, points, _ = positions.shape
    width = maps[0].shape[1] // groups
    actual = torch.zeros(images, queries, groups, points, width, dtype=positions.dtype)
    for image, query, group, point in torch.cartesian_prod(
        *(torch.arange(n) for n in (images, queries, groups, points))
    ).tolist():
        place = image, query, group, point
        for level, (feature, stride) in enumerate(zip(maps, strides, strict=True)):
            x, y = (positions[place] / stride - 0.5).tolist()
            for column in (math.floor(x), math.floor(x) + 1):
                for row in (math.floor(y), math.floor(y) + 1):
                    inside = 0 <= row < feature.shape[2] and 0 <= column < feature.shape[3]
                    share = (1 - abs(x - column)) * (1 - abs(y - row)) * weights[(*place, level)]
                    if inside:
                        channels = slice(group * width, (group + 1) * width)
                        actual[place] += share * feature[image, channels, row, column]
    return actual


def test_sampling_equals_plain_loops(make_maps, make_queries):
    sampler = build(embed_dim=32).double()
    maps = make_maps(dtype=torch.float64)
    content, boxes = make_queries(dtype=torch.float64)
    boxes[:, 1, 0] = -3.0  # a box across the left edge
    points = sampler.points(content, boxes)
    weights = level_weights(points[..., 2], 4)
    actual = sampler(maps, content, boxes)[0]
    assert actual.shape == (2, 5, 2, 6, 16)  # (B, N, G, P, Dc)
    expected = sample_with_loops(maps, points[..., :2], weights, (4, 8, 16, 32))
    torch.testing.assert_close(actual, expected)


def test_padding_beyond_the_image_does_not_move_the_points():
    # the same map in a larger padded one: positions are pixels, not shares of the padded size
    small = torch.arange(16.0).view(1, 1, 4, 4)
    large = torch.zeros(1, 1, 6, 9)
    large[:, :, :4, :4] = small
    torch.manual_seed(0)
    positions = torch.rand(1, 1, 1, 20, 2) * 10 + 3  # between the outermost cell centres
    weights = torch.ones(1, 1, 1, 20, 1)
    actual = sample_levels([large], positions, weights, (4,))
    torch.testing.assert_close(actual, sample_levels([small], positions, weights, (4,)))


def test_gradient_is_the_numerical_one():
    generator = torch.Generator().manual_seed(3)
    maps = [torch.randn(1, 2, n, n, generator=generator).double() for n in (4, 2)]
    positions = torch.rand(1, 2, 2, 2, 2, generator=generator).double() * 14 + 1
    weights = torch.rand(1, 2, 2, 2, 2, generator=generator).double()

    def sample(first, second, positions, weights):
        return sample_levels([first, second], positions, weights, (4, 8))

    inputs = [x.requires_grad_() for x in (*maps, positions, weights)]
    assert torch.autograd.gradcheck(sample, inputs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_maps_of_another_type_than_the_positions_are_sampled(dtype: torch.dtype):
    maps = [torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=dtype).view(1, 1, 2, 2)]
    positions, weights = torch.full((1, 1, 1, 1, 2), 4.0), torch.ones(1, 1, 1, 1, 1)
    actual = sample_levels(maps, positions, weights, (4,))
    assert actual.dtype == torch.float32
    assert actual.item() == 2.5


def test_the_number_of_maps_must_be_that_of_the_strides(make_maps, make_queries):
    with pytest.raises(ValueError, match="zip"):
        build(embed_dim=32)(make_maps()[:3], *make_queries())
