"""Memory fusion in detrex's Deformable-DETR and DINO, by config."""

import pytest
import torch
from integrations import detrex_host
from integrations.detrex_cases import build_model, two_images
from torch import nn

from stageinteractor.config import apply_overrides
from stageinteractor.integrations.detrex import load_project_config, use_memory_fusion
from stageinteractor.integrations.memory_fusion import DenseFusion, SimpleFusion, ULikeFusion

pytestmark = pytest.mark.detrex
DEFORMABLE = "deformable_detr/configs/models/deformable_detr_r50.py"
MODELS = {
    "deformable_detr": (DEFORMABLE, []),
    "box_refinement": (DEFORMABLE, ["model.with_box_refine=true"]),
    "two_stage": (DEFORMABLE, ["model.with_box_refine=true", "model.as_two_stage=true"]),
    "dino": ("dino/configs/models/dino_r50.py", []),
}
FUSIONS = {"dense": DenseFusion, "simple": SimpleFusion, "u-like": ULikeFusion}
models = pytest.mark.parametrize("name", MODELS)
fusions = pytest.mark.parametrize("fusion", FUSIONS)


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> None:
    detrex_host.arrange()
    detrex_host.stay_on_cpu(monkeypatch)


def small_config(name, fusion=None, *overrides):
    path, more = MODELS[name]
    cfg = load_project_config(path)
    if fusion is not None:
        use_memory_fusion(cfg.model.transformer, fusion)
    small = [
        "model.device=cpu",
        "model.num_queries=20",
        "model.transformer.encoder.num_layers=2",
        "model.transformer.decoder.num_layers=2",
    ]
    apply_overrides(cfg, [*small, *more, *overrides])
    return cfg


@models
@fusions
def test_a_training_step_reaches_every_parameter_of_the_fusion(name, fusion):
    model = build_model(small_config(name, fusion))
    torch.manual_seed(2)
    losses = model(two_images(96, 128))
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    encoder = model.transformer.encoder
    assert type(encoder.memory_fusion) is FUSIONS[fusion]
    for parameter_name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.any() or not parameter_name.startswith("memory_fusion")


@models
def test_decoder_and_proposals_read_the_joined_memory(name):
    model = build_model(small_config(name, "simple"))
    seen = {}
    transformer = model.transformer
    transformer.encoder.memory_fusion.join.register_forward_hook(
        lambda _, arguments, output: seen.update(joined=output)
    )
    transformer.decoder.layers[0].register_forward_pre_hook(
        lambda _, arguments: seen.update(value=arguments[2])
    )
    if hasattr(transformer, "enc_output"):
        # behind the two-stage proposals: what they are read from, zero where there can be none
        transformer.enc_output.register_forward_pre_hook(
            lambda _, arguments: seen.update(proposals=arguments[0])
        )
    model(two_images(96, 128))
    assert torch.equal(seen["value"], seen["joined"])
    assert ("proposals" in seen) == (name in ("two_stage", "dino"))
    if "proposals" in seen:
        used = seen["proposals"].any(dim=-1)
        assert used.any()
        assert torch.equal(seen["proposals"][used], seen["joined"][used])


@models
@fusions
def test_fusion_that_picks_the_last_layer_keeps_losses_exactly(name, fusion):
    plain, model = (build_model(small_config(name, each)) for each in (None, fusion))
    model.load_state_dict(plain.state_dict(), strict=False)
    for join in model.transformer.encoder.memory_fusion.modules():
        if hasattr(join, "project"):
            join.norm = nn.Identity()
            join.project.weight.data.zero_()[:, -256:] = torch.eye(256)
    actual, expected = (step(each) for each in (model, plain))
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[key], expected[key]) for key in expected)


def step(model):
    torch.manual_seed(2)
    return model(two_images(96, 128))
