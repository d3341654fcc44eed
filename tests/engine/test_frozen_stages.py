"""`train.frozen_stages` on backbones of several libraries."""

import pytest
import torch
from torch import nn

from stageinteractor.config import instantiate, load_config
from stageinteractor.engine.frozen_stages import freeze_stages
from stageinteractor.errors import ConfigError
from stageinteractor.modeling.backbones import TimmBackbone


class Stages(nn.Module):
    """Two stages of a convolution, a batch norm and a dropout; the second is returned first."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 4, 1)
        self.one = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Dropout())
        self.two = nn.Sequential(nn.Conv2d(4, 4, 2, 2), nn.BatchNorm2d(4))

    def forward(self, images):
        one = self.one(self.stem(images))
        return {"two": self.two(one), "one": one}


class Detector(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(4, 4)


def trainable(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_parameters_that_the_first_maps_depend_on_are_frozen():
    model = Detector(Stages()).train()
    hook = freeze_stages(model, 1)
    assert trainable(model) == {
        *("head.weight", "head.bias"),
        *(f"backbone.two.{n}" for n in ("0.weight", "0.bias", "1.weight", "1.bias")),
    }
    model.train()
    hook.before_step()
    model.backbone(torch.rand(2, 3, 64, 64))
    assert not model.backbone.one[1].running_mean.any()
    assert model.backbone.two[1].running_mean.any()
    freeze_stages(model, 2)
    assert trainable(model) == {"head.weight", "head.bias"}


def test_dropout_of_a_frozen_stage_is_off():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout())

        def forward(self, images):
            return [self.one(images)]

    model = Detector(Net())
    hook = freeze_stages(model, 1)
    model.train()
    hook.before_step()
    assert not model.backbone.one[1].training and model.head.training


def test_statistics_and_mode_of_the_backbone_stay():
    model = Detector(Stages()).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    freeze_stages(model, 1)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state) and model.backbone.one[2].training


def test_stages_of_timm():
    model = Detector(TimmBackbone(name="tf_efficientnet_lite0", fixed_statistics=False))
    freeze_stages(model, 2)
    kept = trainable(model.backbone)
    assert not any(f"blocks.{i}." in name for name in kept for i in (0, 1, 2))
    assert not any("conv_stem" in name for name in kept)
    assert any("blocks.3." in name for name in kept)


def test_stages_of_detectron2():
    cfg = load_config("stageinteractor_r50_1x")
    cfg.model.backbone.freeze_at = 0
    model = Detector(instantiate(cfg.model.backbone, "model.backbone"))
    freeze_stages(model, 1)
    assert {name.split(".")[0] for name in trainable(model.backbone)} == {"res3", "res4", "res5"}


def test_stages_of_transformers():
    cfg = load_config("digits_in_photos_deformable_detr")
    cfg.model.backbone.weights = None
    model = instantiate(cfg.model, "model")
    freeze_stages(model, 1)
    backbone = model.model.base_model.backbone
    kept = trainable(backbone)
    assert kept and not any("conv_stem" in name for name in kept)


@pytest.mark.parametrize(
    ("model", "count", "message"),
    [
        (Detector(Stages()), 3, "3, but the backbone has 2 maps"),
        (nn.Linear(1, 1), 1, "a Linear has no backbone"),
        (Detector(nn.Linear(5, 1)), 1, "Linear does not take an image"),
    ],
)
def test_backbones_without_such_stages_are_refused(model, count, message):
    with pytest.raises(ConfigError, match=message):
        freeze_stages(model, count)
    assert freeze_stages(model, 0) is None
