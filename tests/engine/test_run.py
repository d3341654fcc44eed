"""Which weights a trained model gets."""

import pytest
import torch
from detectron2.config import LazyCall as L
from omegaconf import OmegaConf
from torch import nn

from stageinteractor.engine.run import build_trained_model
from stageinteractor.errors import DataError


@pytest.fixture
def cfg(tmp_path):
    return OmegaConf.create(
        {
            "model": L(nn.Linear)(in_features=1, out_features=1),
            "train": {
                "device": "cpu",
                "output_dir": str(tmp_path / "run"),
                "init_checkpoint": "",
                "ema": {"enabled": False},
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


def test_the_file_that_is_named_comes_before_the_last_one_before_the_first_one(cfg, save, tmp_path):
    with pytest.raises(DataError, match=r"no checkpoint in .*run: .*train\.init_checkpoint"):
        build_trained_model(cfg)
    cfg.train.init_checkpoint = save("first.pth", 1.0)
    assert build_trained_model(cfg).weight.item() == 1.0
    save("run/model_0000009.pth", 2.0)
    (tmp_path / "run/last_checkpoint").write_text("model_0000009.pth")
    assert build_trained_model(cfg).weight.item() == 2.0
    assert build_trained_model(cfg, save("named.pth", 3.0)).weight.item() == 3.0


def test_half_a_checkpoint_is_refused(cfg, tmp_path):
    path = tmp_path / "half.pth"
    torch.save({"model": {"weight": torch.ones(1, 1), "bias": torch.zeros(2)}}, path)
    with pytest.raises(DataError, match=r"half\.pth: 1 of the model's .*such as bias"):
        build_trained_model(cfg, str(path))
