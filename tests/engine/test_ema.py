import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from stageinteractor.engine.ema import ModelEMA, check_ema_device, evaluates_ema
from stageinteractor.errors import ConfigError


@pytest.mark.parametrize(("decay", "expected"), [(0.125, 7.5), (0.75, 80 / 11)])
def test_average_by_hand(decay, expected):
    """The first update copies; the second keeps the decay, at most (1 + 1) / (10 + 1).

    0.125 * 4 + 0.875 * 8 = 7.5, and 2 / 11 * 4 + 9 / 11 * 8 = 80 / 11.
    """
    model = nn.Linear(1, 1, bias=False)
    hook = ModelEMA(model, decay)
    averages = []
    for value in (4.0, 8.0):
        nn.init.constant_(model.weight, value)
        hook.after_step()
        averages.append(hook.model.weight.item())
    assert averages == pytest.approx([4.0, expected])


def test_a_short_training_leaves_the_initial_weights_behind():
    """The demo's 1,300 steps: 0.9998 of the average at every step would keep 77 % of them."""
    model = nn.Linear(1, 1, bias=False)
    hook = ModelEMA(model, 0.9998)
    nn.init.ones_(model.weight)
    hook.after_step()
    nn.init.zeros_(model.weight)
    for _ in range(1299):
        hook.after_step()
    assert 0 < hook.model.weight.item() < 1e-6


def test_the_number_of_steps_is_restored():
    averages = []
    for resumed in (False, True):
        model = nn.Linear(1, 1, bias=False)
        hook = ModelEMA(model, 0.9998)
        for step in range(6):
            if resumed and step == 3:
                state, hook = hook.average.state_dict(), ModelEMA(model, 0.9998)
                hook.average.load_state_dict(state)
            nn.init.constant_(model.weight, step**2)
            hook.after_step()
        averages.append(hook.model.weight.item())
    assert averages[0] == averages[1]


def test_buffers_are_copied_without_gradient():
    model = nn.BatchNorm1d(2)
    hook = ModelEMA(model, 0.9)
    model(torch.randn(8, 2)).sum().backward()
    hook.after_step()
    assert torch.equal(hook.model.running_mean, model.running_mean)
    assert hook.model.weight.grad is None


def test_decay_out_of_range_is_refused():
    with pytest.raises(ValueError, match="decay"):
        ModelEMA(nn.Linear(1, 1), 1.0)


@pytest.mark.parametrize(
    ("ema", "expected"),
    [
        (None, False),
        ({"enabled": False, "use_ema_weights_for_eval_only": True}, False),
        ({"enabled": True}, True),
        ({"enabled": True, "use_ema_weights_for_eval_only": True}, True),
        ({"enabled": True, "use_ema_weights_for_eval_only": False}, False),
    ],
)
def test_average_is_evaluated_if_the_config_says_so(ema, expected):
    train = {} if ema is None else {"model_ema": ema}
    assert evaluates_ema(OmegaConf.create({"train": train})) is expected


@pytest.mark.parametrize("device", ["", None, "cpu"])
def test_average_is_kept_where_the_model_is(device):
    ema = {"enabled": True, "device": device}
    check_ema_device(OmegaConf.create({"device": "cpu", "model_ema": ema}))


def test_other_device_for_the_average_is_refused():
    train = {"device": "cuda:1", "model_ema": {"enabled": True, "device": "cpu"}}
    with pytest.raises(ConfigError, match=r"model_ema\.device"):
        check_ema_device(OmegaConf.create(train))
