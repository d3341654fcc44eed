from pathlib import Path

import pytest
import timm
import torch
from tally import count_fault
from torch import nn

from stageinteractor.errors import ConfigError
from stageinteractor.modeling.backbones import FixedStatsBatchNorm2d, TimmBackbone

SMALL = "test_efficientnet"  # 82 thousand parameters


def build(name: str = SMALL, **changes) -> TimmBackbone:
    torch.manual_seed(0)
    return TimmBackbone(name=name, **changes)


def norms(backbone: TimmBackbone) -> list[nn.BatchNorm2d]:
    return [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.mark.parametrize(
    ("name", "channels"),
    [("resnet18", [64, 128, 256, 512]), ("tf_efficientnet_lite0", [24, 40, 112, 320])],
)
def test_maps_have_the_promised_shapes(name: str, channels: list[int]):
    backbone = build(name).eval()
    with torch.no_grad():
        maps = backbone(torch.randn(2, 3, 64, 96))
    shapes = backbone.output_shape()
    assert list(maps) == list(shapes) == ["res2", "res3", "res4", "res5"]
    assert [spec.stride for spec in shapes.values()] == [4, 8, 16, 32]
    assert [spec.channels for spec in shapes.values()] == channels
    for key, spec in shapes.items():
        assert maps[key].shape == (2, spec.channels, 64 // spec.stride, 96 // spec.stride)


def test_maps_equal_those_of_timm():
    backbone = build().eval()
    model = timm.create_model(SMALL, features_only=True, out_indices=(1, 2, 3, 4)).eval()
    model.load_state_dict(backbone.model.state_dict())
    images = torch.randn(1, 3, 64, 64)
    for actual, expected in zip(backbone(images).values(), model(images), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0"])
def test_fixed_statistics_stay_while_scale_is_trained(name: str):
    backbone = build(name).train()
    assert backbone.training
    before = [norm.running_mean.clone() for norm in norms(backbone)]
    assert before
    maps = backbone(torch.randn(2, 3, 64, 64))
    sum(x.square().mean() for x in maps.values()).backward()
    for norm, mean in zip(norms(backbone), before, strict=True):
        assert not norm.training
        assert torch.equal(norm.running_mean, mean)
        assert norm.weight.requires_grad
    assert all(norm.weight.grad is not None for norm in norms(backbone))


def test_statistics_follow_the_images_if_asked():
    backbone = build(fixed_statistics=False).train()
    before = [norm.running_mean.clone() for norm in norms(backbone)]
    backbone(torch.randn(2, 3, 64, 64))
    assert all(norm.training for norm in norms(backbone))
    changed = [
        not torch.equal(norm.running_mean, mean)
        for norm, mean in zip(norms(backbone), before, strict=True)
    ]
    assert all(changed)


def test_weights_are_read_from_a_file(tmp_path: Path):
    torch.manual_seed(1)
    source = timm.create_model(SMALL)
    path = tmp_path / "weights.pth"
    torch.save(source.state_dict(), path)
    state = build(weights=str(path)).model.state_dict()
    expected = source.state_dict()
    assert len(state) > 20
    for key, value in state.items():
        assert torch.equal(value, expected[key]), key


def test_an_unknown_model_is_named_with_its_neighbours():
    with pytest.raises(ConfigError, match="no model 'resnet81'; near it: .*resnet"):
        build("resnet81")


def test_a_model_without_the_strides_is_refused():
    with pytest.raises(ConfigError, match=r"strides \[16, 16, 16\]; \[4, 8, 32\] missing"):
        build("vit_tiny_patch16_224")


def test_a_missing_weight_file_is_named(tmp_path: Path):
    path = str(tmp_path / "absent.pth")
    with pytest.raises(ConfigError, match=r"no file '.*absent\.pth' for 'test_efficientnet'"):
        build(weights=path)


def test_fixed_norm_uses_its_running_statistics_in_training():
    norm = FixedStatsBatchNorm2d(1, eps=0.0)
    assert norm.train() is norm
    assert not norm.training
    with torch.no_grad():
        norm.running_mean.fill_(2.0)
        norm.running_var.fill_(4.0)
        norm.weight.fill_(3.0)
        norm.bias.fill_(1.0)
    x = torch.tensor([2.0, 6.0]).view(2, 1, 1, 1)
    # (x - 2) / 2 * 3 + 1
    actual = norm(x)
    assert actual.flatten().tolist() == [1.0, 7.0]
    assert norm.running_mean.item() == 2.0
    actual.sum().backward()
    assert norm.weight.grad.item() == 2.0  # 0 / 2 + 4 / 2
    assert norm.bias.grad.item() == 2.0


# Weights that do not fit


def spoilt(way: str) -> dict[str, torch.Tensor]:
    state = timm.create_model(SMALL).state_dict()
    names = list(state)
    return {
        "foreign names": {f"encoder.{name}": value for name, value in state.items()},
        "five tensors": {name: state[name] for name in names[:5]},
        "without a norm": {name: state[name] for name in names if "bn1" not in name},
        "NaN": {
            name: value * torch.nan if value.is_floating_point() else value
            for name, value in state.items()
        },
        "another model": timm.create_model("resnet18").state_dict(),
        "another shape": state | {"conv_stem.weight": torch.zeros(9, 3, 3, 3)},
        "nothing": {},
    }[way]


@pytest.mark.parametrize(
    "way",
    [
        "foreign names",
        "five tensors",
        "without a norm",
        "NaN",
        "another model",
        "another shape",
        "nothing",
    ],
)
def test_weights_that_do_not_fit_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
):
    monkeypatch.setattr("socket.socket", lambda *_, **__: pytest.fail("the network was used"))
    path = tmp_path / "weights.pth"
    torch.save(spoilt(way), path)
    with pytest.raises(ConfigError, match=r"model\.backbone\.weights: .*weights\.pth") as caught:
        build(weights=str(path))
    assert "\n" not in str(caught.value)
    count_fault("bad checkpoint")
