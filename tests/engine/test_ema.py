import pytest
import torch
from torch import nn

from stageinteractor.engine.ema import ModelEMA


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
