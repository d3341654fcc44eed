import pytest
import torch

from stageinteractor.modeling import ChannelMapper, FeaturePyramid

NAMES = ("res2", "res3", "res4", "res5")


def build(**changes) -> ChannelMapper:
    torch.manual_seed(0)
    arguments = dict(in_channels=(3, 4, 5, 6), out_channels=8, num_groups=4)
    return ChannelMapper(**(arguments | changes))


def features(images: int = 2) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    sizes = (8, 12), (4, 6), (2, 3), (1, 2)
    return {name: torch.randn(images, 3 + level, *sizes[level]) for level, name in enumerate(NAMES)}


def test_maps_keep_their_size_and_get_one_width():
    shapes = [tuple(x.shape) for x in build()(features())]
    assert shapes == [(2, 8, 8, 12), (2, 8, 4, 6), (2, 8, 2, 3), (2, 8, 1, 2)]


def test_values_worked_out_by_hand():
    neck = ChannelMapper(in_channels=(1,), in_features=("a",), out_channels=2, num_groups=1)
    with torch.no_grad():
        neck.convs[0].weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
        neck.norm.weight.copy_(torch.tensor([1.0, 2.0]))
        neck.norm.bias.copy_(torch.tensor([0.0, 10.0]))
    (actual,) = neck({"a": torch.tensor([1.0, 3.0]).view(1, 1, 1, 2)})
    # 1, 3, -1, -3 have mean 0 and variance 5; the second channel is doubled and raised by 10
    expected = torch.tensor([1.0, 3, -1, -3]).view(1, 2, 1, 2) / 5**0.5
    expected[:, 1] = 2 * expected[:, 1] + 10
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_gradient_is_the_numerical_one():
    neck = build(in_channels=(3,), in_features=("a",)).double()
    x = torch.randn(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: neck({"a": x})[0], x)


def test_a_missing_map_is_named():
    maps = features()
    del maps["res4"]
    with pytest.raises(KeyError, match="res4"):
        build()(maps)


def test_feature_pyramid_has_one_width_and_a_top_down_path():
    torch.manual_seed(0)
    neck = FeaturePyramid(in_channels=(3, 4, 5, 6), out_channels=8)
    maps = features()
    actual = neck(maps)
    assert [tuple(x.shape) for x in actual] == [
        (2, 8, 8, 12),
        (2, 8, 4, 6),
        (2, 8, 2, 3),
        (2, 8, 1, 2),
    ]
    maps["res5"] = maps["res5"] + 1.0
    assert all((new != old).any() for new, old in zip(neck(maps), actual, strict=True))
    maps["res2"] = maps["res2"] + 1.0
    assert torch.equal(neck(maps)[1], neck(dict(maps, res2=features()["res2"]))[1])


def test_names_and_channels_of_a_feature_pyramid_must_agree():
    with pytest.raises(ValueError, match="in_features"):
        FeaturePyramid(in_channels=(3, 4, 5))


def test_lists_of_different_length_are_refused():
    with pytest.raises(ValueError, match=r"in_channels \(3, 4\) and in_features .*same length"):
        build(in_channels=(3, 4))


def test_groups_must_divide_the_width():
    with pytest.raises(ValueError, match="divisible by num_groups"):
        build(num_groups=3)
