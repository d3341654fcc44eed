"""`train.early_stopping`: when it stops, and what a resumed training goes on with."""

import math
from pathlib import Path

import pytest
import torch
from detectron2.engine import hooks
from omegaconf import OmegaConf
from schema.conftest import toy, two_images  # noqa: F401 - fixtures
from torch import nn

from stageinteractor.config import apply_overrides, get_config
from stageinteractor.engine.early_stopping import EarlyStopping, early_stopping
from stageinteractor.engine.trainer import Trainer
from stageinteractor.engine.training import train
from stageinteractor.errors import ConfigError


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))

    def forward(self, batch):
        return {"loss": (self.w * batch[0]["x"]).sum()}


def trained(values, patience=2, start=0, state=None):
    """Train ten iterations with an evaluation after every second one; return where it ends."""
    model = Line()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    trainer = Trainer(model, [[{"x": 1.0}]] * 10, optimizer)
    stopping = EarlyStopping(metric="bbox/AP", patience=patience, eval_period=2)
    if state is not None:
        stopping.load_state_dict(state)
    remaining = iter(values)
    evaluate = hooks.EvalHook(2, lambda: {"bbox": {"AP": next(remaining)}})
    trainer.register_hooks([stopping, evaluate])
    trainer.train(start, 10)
    return trainer, stopping


@pytest.mark.parametrize(
    ("values", "finished"),
    [
        ((1, 2, 3, 4, 5), 10),
        ((3, 2, 1, 9, 9), 6),  # two misses after the first evaluation
        ((3, 3, 3, 9, 9), 6),  # an equal value is no rise
        ((3, 1, 4, 2, 1), 10),  # the rise between starts the count again; the last is the end
        ((math.nan, math.nan, 1, 1, 1), 4),
    ],
)
def test_training_stops_after_patience_evaluations_without_a_rise(values, finished):
    trainer, _ = trained(values)
    assert trainer.iter == finished
    assert trainer.stop_early is (finished < 10)


def test_state_goes_on_counting_after_a_resume():
    _, stopping = trained((3, 1, 4, 2, 2))
    state = stopping.state_dict() | {"misses": 1, "iteration": 5}
    trainer, _ = trained((1, 9, 9), start=6, state=state)
    assert trainer.iter == 8  # the evaluation after iteration 7 is the second miss


def test_evaluations_during_the_training_are_needed():
    train_node = {"best_metric": "bbox/AP", "eval_period": 0}
    cfg = OmegaConf.create({"train": train_node | {"early_stopping": {"enabled": True}}})
    with pytest.raises(ConfigError, match="train.eval_period"):
        early_stopping(cfg)


def test_an_older_config_without_the_key_is_switched_on_by_an_override():
    cfg = OmegaConf.create({"train": {"best_metric": "bbox/AP", "eval_period": 2}})
    assert early_stopping(cfg) is None
    apply_overrides(cfg, ["train.early_stopping.enabled=true"])
    default = get_config("common/train.py").train.early_stopping.patience
    assert early_stopping(cfg).patience == default
    apply_overrides(cfg, ["train.early_stopping.patience=3"])
    assert early_stopping(cfg).patience == 3


def test_run_stops_saves_and_is_resumed_with_more_patience(toy):  # noqa: F811
    """The toy detector's AP never changes, so that the second evaluation is the first miss."""
    toy.train.update(max_iter=10, eval_period=2)
    toy.train.checkpointer.period = 3
    toy.train.early_stopping.update(enabled=True, patience=1)
    folder = Path(toy.train.output_dir)
    assert "bbox" in train(toy.copy())
    last = folder / "last_checkpoint"
    assert last.read_text() == "model_0000003.pth"  # iteration 3, between the periods
    assert (folder / "log.txt").read_text().count("early stopping after iteration 3") == 1
    train(toy.copy(), resume=True)  # stops again before the first step
    assert (folder / "log.txt").read_text().count("early stopping after iteration 3") == 2
    toy.train.early_stopping.patience = 3
    toy.train.max_iter = 20
    train(toy.copy(), resume=True)
    log = (folder / "log.txt").read_text()
    assert "early stopping after iteration 7" in log
    (line,) = [each for each in log.splitlines() if "the schedule is" in each]
    assert "train.max_iter: 10 -> 20, from iteration 4 on" in line
