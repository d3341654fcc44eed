import copy

import pytest
import torch
from detectron2.modeling.backbone.resnet import BasicStem, BottleneckBlock, ResNet
from torch import nn

from stageinteractor import Predictor, predictor
from stageinteractor.config import instantiate, load_config
from stageinteractor.engine.build import set_memory_format
from stageinteractor.modeling.backbones.deform_resnext import DeformableBottleneck


@pytest.fixture
def detector(tiny_config):
    """A function that puts a small ResNet of these blocks into the tiny detector."""

    def build(block: type[nn.Module]) -> nn.Module:
        model = instantiate(tiny_config.model, "model")
        stage = ResNet.make_stage(
            block, 1, in_channels=8, out_channels=16, bottleneck_channels=8, num_groups=1, norm="BN"
        )
        model.backbone = ResNet(BasicStem(3, 8, norm="BN"), [stage], out_features=["res2"]).eval()
        return model

    return build


def is_channels_last(module: nn.Module) -> list[bool]:
    weights = [p for p in module.parameters() if p.dim() == 4 and p.shape[1] > 1 < p.shape[2]]
    return [p.is_contiguous(memory_format=torch.channels_last) for p in weights]


def test_on_a_cpu_a_resnet_of_the_detector_has_channels_last(detector):
    model = detector(BottleneckBlock)
    before = copy.deepcopy(model)
    set_memory_format(model, "auto")
    assert all(is_channels_last(model.backbone))
    assert is_channels_last(model.backbone)
    strides = [[p.stride() for p in x.neck.parameters()] for x in (model, before)]
    assert strides[0] == strides[1]
    images = torch.randn(2, 3, 64, 96)
    (maps,) = model.backbone(images).values()
    assert maps.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(maps, before.backbone(images)["res2"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("setting", [False, True, "auto"])
def test_prediction_follows_the_config(setting, tiny_run, monkeypatch):
    """The tiny model has no weights that show it: those of timm always have channels last."""
    calls = []
    monkeypatch.setattr(predictor, "set_memory_format", lambda *call: calls.append(call))
    cfg = load_config(tiny_run / "config.yaml")
    cfg.train.channels_last = setting
    model = Predictor.from_config(cfg, tiny_run / "model_best.pth", device="cpu").model
    assert calls == [(model, setting)]


def test_on_other_devices_the_format_stays(detector):
    model = detector(BottleneckBlock).to("meta")
    set_memory_format(model, "auto")
    assert not any(is_channels_last(model.backbone))


def test_deformable_convolutions_and_other_models_keep_their_format(detector):
    other = nn.Module()
    other.backbone = detector(BottleneckBlock).backbone
    for model in detector(DeformableBottleneck), other:
        set_memory_format(model, "auto")
        assert not any(is_channels_last(model.backbone))
        set_memory_format(model, False)
        assert not any(is_channels_last(model.backbone))
        set_memory_format(model, True)
        assert all(is_channels_last(model.backbone))
