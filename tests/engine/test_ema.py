import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from stageinteractor.engine.ema import ModelEMA, check_ema_device, evaluates_ema
from stageinteractor.errors import ConfigError


def test_average_by_hand():
    """The first update copies; then 0.75 * 4 + 0.25 * 8 = 5."""
    model = nn.Linear(1, 1, bias=False)
    hook = ModelEMA(model, 0.75)
    for value, expected in ((4.0, 4.0), (8.0, 5.0)):
        nn.init.constant_(model.weight, value)
        hook.after_step()
        assert hook.model.weight.item() == pytest.approx(expected)


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
