"""Which weights of a checkpoint a training begins with."""

import logging

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from stageinteractor.engine.training import load_initial_weights


class FrozenLinear(nn.Linear):
    """Stands in for a frozen detector, all of whose weights come from the checkpoint."""

    trained_parts = ("suppressor",)


@pytest.fixture
def checkpoint(tmp_path):
    """Latest weights 1, averaged ones 2."""
    latest = nn.Linear(2, 1).state_dict()
    average = {f"module.{name}": torch.full_like(value, 2.0) for name, value in latest.items()}
    content = {
        "model": {name: torch.ones_like(value) for name, value in latest.items()},
        "ema": average | {"n_averaged": torch.tensor(3)},
    }
    path = tmp_path / "detector.pth"
    torch.save(content, path)
    return str(path)


@pytest.mark.parametrize(("kind", "expected"), [(nn.Linear, 1.0), (FrozenLinear, 2.0)])
def test_trained_models_get_the_latest_weights_frozen_ones_the_average(
    kind, expected, checkpoint, caplog
):
    cfg = OmegaConf.create({"train": {"init_checkpoint": checkpoint, "backbone_weights": ""}})
    model = kind(2, 1)
    logger = logging.getLogger("stageinteractor.engine.weights")
    logger.addHandler(caplog.handler)  # another test may have set loggers up
    try:
        with caplog.at_level("INFO", logger=logger.name):
            load_initial_weights(cfg, model)
    finally:
        logger.removeHandler(caplog.handler)
    assert model.weight.tolist() == [[expected, expected]]
    assert ("averaged" if expected == 2.0 else "latest") in caplog.text


def test_a_checkpoint_without_average_is_taken_as_it_is(checkpoint):
    content = torch.load(checkpoint)
    torch.save({"model": content["model"]}, checkpoint)
    cfg = OmegaConf.create({"train": {"init_checkpoint": checkpoint, "backbone_weights": ""}})
    model = FrozenLinear(2, 1)
    load_initial_weights(cfg, model)
    assert model.weight.tolist() == [[1.0, 1.0]]
