"""What `train.compile` and `train.channels_last` make of a model."""

import pytest
import torch
from torch import nn

from stageinteractor.engine import run
from stageinteractor.engine.run import build_model, compile_decoder
from stageinteractor.errors import ConfigError


@pytest.fixture
def cfg(tiny_config):
    """The demo's config, made tiny."""
    cfg = tiny_config.copy()
    cfg.dataset.num_classes = 3
    return cfg


def build(cfg, randomise, **settings) -> nn.Module:
    cfg = cfg.copy()
    cfg.train.update(settings)
    torch.manual_seed(0)
    return randomise(build_model(cfg))


def test_channels_last_changes_the_layout_and_nothing_else(cfg, randomise):
    plain = build(cfg, randomise)
    changed = build(cfg, randomise, channels_last=True)
    assert changed.state_dict().keys() == plain.state_dict().keys()
    changed.load_state_dict(plain.state_dict())
    pixels = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    found, wanted = (model.neck(model.backbone(pixels)) for model in (changed, plain))
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
    weights = [p for p in changed.parameters() if p.dim() == 4]
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in [*weights, *found])


def test_gradients_in_channels_last_are_the_same(cfg, randomise):
    grads = []
    for channels_last in (False, True):
        model = build(cfg, randomise, channels_last=channels_last).double()
        pixels = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)).double()
        sum(x.square().mean() for x in model.neck(model.backbone(pixels))).backward()
        grads.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(grads[0]) > 50
    torch.testing.assert_close(grads[1], grads[0])


def test_the_decoder_is_what_is_compiled(cfg, randomise, monkeypatch):
    compiled = []
    monkeypatch.setattr(
        nn.Module, "compile", lambda self, **how: compiled.append((type(self).__name__, how))
    )
    compile_decoder(build(cfg, randomise))
    ((name, how),) = compiled
    assert name == "StageInteractorDecoder"
    assert how["fullgraph"]


def test_a_model_without_such_a_decoder_is_refused():
    with pytest.raises(ConfigError, match=r"train\.compile: a Linear has no decoder to compile"):
        compile_decoder(nn.Linear(1, 1))


def test_a_cpu_without_a_compiler_is_told(cfg, randomise, monkeypatch):
    monkeypatch.setattr(run.shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match=r"train\.compile: .* C\+\+ compiler"):
        compile_decoder(build(cfg, randomise))
