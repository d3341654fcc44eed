"""Weights of a trained model; `train.compile` and `train.channels_last`."""

import pytest
import torch
from detectron2.config import LazyCall as L
from omegaconf import OmegaConf
from torch import nn

from stageinteractor.engine.build import build_model, build_trained_model, compile_decoder
from stageinteractor.errors import ConfigError, DataError


@pytest.fixture
def cfg(tmp_path):
    return OmegaConf.create(
        {
            "model": L(nn.Linear)(in_features=1, out_features=1),
            "train": {
                "device": "cpu",
                "output_dir": str(tmp_path / "run"),
                "init_checkpoint": "",
                "model_ema": {"enabled": False},
            },
        },
        flags={"allow_objects": True},
    )


@pytest.fixture
def save(tmp_path):
    """Write a checkpoint whose only weight has this value, and return its path."""

    def write(name: str, value: float) -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        state = {"weight": torch.tensor([[value]]), "bias": torch.zeros(1)}
        torch.save({"model": state}, path)
        return str(path)

    return write


def test_checkpoint_order_named_last_initial(cfg, save, tmp_path):
    with pytest.raises(DataError, match=r"no checkpoint in .*run: .*train\.init_checkpoint"):
        build_trained_model(cfg)
    cfg.train.init_checkpoint = save("first.pth", 1.0)
    assert build_trained_model(cfg).weight.item() == 1.0
    save("run/model_0000009.pth", 2.0)
    (tmp_path / "run/last_checkpoint").write_text("model_0000009.pth")
    assert build_trained_model(cfg).weight.item() == 2.0
    assert build_trained_model(cfg, save("named.pth", 3.0)).weight.item() == 3.0


def test_incomplete_checkpoint_is_refused(cfg, tmp_path):
    path = tmp_path / "half.pth"
    torch.save({"model": {"weight": torch.ones(1, 1), "bias": torch.zeros(2)}}, path)
    with pytest.raises(DataError, match=r"half\.pth: .*bias"):
        build_trained_model(cfg, str(path))


@pytest.fixture
def detector(tiny_config, randomise):
    """A function that builds the tiny detector with other ``train`` settings."""

    def build(**settings) -> nn.Module:
        cfg = tiny_config.copy()
        cfg.dataset.num_classes = 3
        cfg.train.update(settings)
        torch.manual_seed(0)
        return randomise(build_model(cfg))

    return build


def features(model, dtype=torch.float32):
    pixels = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    return model.neck(model.backbone(pixels.to(dtype)))


def test_channels_last_changes_only_the_layout(detector):
    plain, changed = detector(), detector(channels_last=True)
    assert changed.state_dict().keys() == plain.state_dict().keys()
    changed.load_state_dict(plain.state_dict())
    maps = features(changed)
    torch.testing.assert_close(maps, features(plain), rtol=1e-3, atol=1e-4)
    weights = [p for p in changed.parameters() if p.dim() == 4]
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in [*weights, *maps])


def test_compile_decoder_compiles_the_decoder_only(detector, monkeypatch):
    compiled = []
    monkeypatch.setattr(
        nn.Module, "compile", lambda self, **how: compiled.append((type(self).__name__, how))
    )
    compile_decoder(detector())
    ((name, how),) = compiled
    assert name == "StageInteractorDecoder"
    assert how["fullgraph"]


def test_compiling_a_model_without_decoder_is_refused():
    with pytest.raises(ConfigError, match=r"train\.compile: .*Linear"):
        compile_decoder(nn.Linear(1, 1))


def test_compiling_on_a_cpu_needs_a_compiler(detector, monkeypatch):
    monkeypatch.setattr("stageinteractor.engine.build.shutil.which", lambda name: None)
    with pytest.raises(ConfigError, match=r"train\.compile: .* C\+\+ compiler"):
        compile_decoder(detector())
