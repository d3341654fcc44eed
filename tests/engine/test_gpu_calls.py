"""A model that asks for a GPU by itself, where there is none."""

import pytest
import torch
from torch import nn

from stageinteractor.engine.trainer import Trainer
from stageinteractor.errors import ConfigError


class AsksForGpu(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, batch):
        return {"loss": self.weight.cuda().sum()}


class Fails(AsksForGpu):
    def forward(self, batch):
        raise RuntimeError("something else")


def trainer_of(model: nn.Module) -> Trainer:
    return Trainer(model, [[{}]], torch.optim.SGD(model.parameters(), 0.1))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_line_of_the_call_is_named():
    with pytest.raises(ConfigError, match=r"test_gpu_calls\.py:\d+.*weight\.cuda\(\)"):
        trainer_of(AsksForGpu()).train(0, 1)


def test_other_errors_stay_as_they_are():
    with pytest.raises(RuntimeError, match="something else"):
        trainer_of(Fails()).train(0, 1)
