import pytest
import torch
from torch import nn

from stageinteractor.engine import optim
from stageinteractor.engine.optim import ClampedAdamW, param_groups


def test_first_two_steps_by_hand():
    """Gradient 2, then 1; b1 = 0.5, b2 = 0.75, lr = 0.1, no decay.

    Step 1: m = 1, v = 1; m / (1 - 0.5) = 2, sqrt(v / 0.25) = 2; p = 1 - 0.1 = 0.9.
    Step 2: m = 1, v = 1; m / 0.75 = 4/3, sqrt(1 / 0.4375) = 1.5118579; p = 0.9 - 0.0881917.
    """
    parameter = nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = ClampedAdamW([parameter], lr=0.1, betas=(0.5, 0.75), weight_decay=0.0)
    for gradient, expected in ((2.0, 0.9), (1.0, 0.9 - 0.1 * (4 / 3) / 1.511857892)):
        parameter.grad = torch.full_like(parameter, gradient)
        optimizer.step()
        assert parameter.item() == pytest.approx(expected, abs=1e-9)


def test_weight_decay_is_decoupled_and_comes_first():
    parameter = nn.Parameter(torch.full((1,), 4.0))
    parameter.grad = torch.zeros(1)
    ClampedAdamW([parameter], lr=0.5, weight_decay=0.1).step()
    assert parameter.item() == pytest.approx(4.0 * (1 - 0.5 * 0.1))


def test_denominator_is_clamped_not_increased():
    """With a gradient of 1e-12 the clamp at 1e-10 rules: p = -lr 1e-12 / 1e-10 = -0.01 lr."""
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    parameter.grad = torch.full_like(parameter, 1e-12)
    ClampedAdamW([parameter], lr=1.0, weight_decay=0.0).step()
    assert parameter.item() == pytest.approx(-0.01)


def test_equals_adamw_with_tiny_eps():
    torch.manual_seed(0)
    ours, theirs = nn.Linear(5, 3).double(), nn.Linear(5, 3).double()
    theirs.load_state_dict(ours.state_dict())
    settings = dict(lr=1e-2, weight_decay=0.05)
    first = ClampedAdamW(ours.parameters(), **settings)
    second = torch.optim.AdamW(theirs.parameters(), eps=1e-15, **settings)
    for _ in range(5):
        x = torch.randn(7, 5, dtype=torch.float64)
        for model, optimizer in ((ours, first), (theirs, second)):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("wrong", [{"lr": -1.0}, {"lr": 1.0, "betas": (0.9, 1.0)}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        ClampedAdamW([nn.Parameter(torch.ones(1))], **wrong)


@pytest.fixture
def model():
    model = nn.ModuleDict({"backbone": nn.Linear(2, 2), "norm": nn.LayerNorm(2)})
    model["head"] = nn.Linear(2, 1)
    model["head"].bias.requires_grad_(False)
    return model


def test_groups_by_backbone_factor_and_weight_decay(model):
    groups = param_groups(model=model, lr=1.0, backbone_lr_factor=0.1, no_decay=["norm"])
    sizes = {(group["lr"], group.get("weight_decay")): len(group["params"]) for group in groups}
    assert sizes == {(0.1, None): 2, (1.0, 0.0): 2, (1.0, None): 1}


def test_chunked_update_equals_the_whole_update(monkeypatch):
    torch.manual_seed(0)
    whole = nn.Parameter(torch.randn(7, 5))
    layouts = [
        nn.Parameter(whole.detach().clone()),
        nn.Parameter(whole.detach().t().contiguous().t()),  # not contiguous: taken as a whole
    ]
    gradients = [torch.randn(7, 5) for _ in range(3)]
    optimizer = ClampedAdamW([whole], lr=0.1)
    chunked = ClampedAdamW(layouts, lr=0.1)
    for gradient in gradients:
        whole.grad = gradient.clone()
        monkeypatch.setattr(optim, "CHUNK_SIZE", 100)
        optimizer.step()
        for parameter in layouts:
            parameter.grad = gradient.clone()
        monkeypatch.setattr(optim, "CHUNK_SIZE", 4)
        chunked.step()
    for parameter in layouts:
        torch.testing.assert_close(parameter, whole, rtol=0, atol=0)


def test_parameters_without_gradient_are_unchanged():
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    used.grad = torch.ones(2)
    ClampedAdamW([used, unused], lr=0.1).step()
    assert not torch.equal(used, torch.ones(2))
    assert torch.equal(unused, torch.ones(2))
