"""The state of a checkpoint with other settings: applied, or refused in one line."""

import copy

import pytest
import torch
from torch import nn

from stageinteractor.engine.checkpointing import AtomicCheckpointer
from stageinteractor.engine.ema import ModelEMA
from stageinteractor.engine.optim import ClampedAdamW, param_groups
from stageinteractor.engine.trainer import Trainer
from stageinteractor.engine.weights import UnusableTensorError
from stageinteractor.errors import DataError

PLAIN = {"lr": 0.1, "betas": (0.9, 0.99), "weight_decay": 0.01}


class Net(nn.Module):
    def __init__(self, classes=3, stages=1):
        super().__init__()
        self.backbone = nn.Linear(2, 2)
        self.stages = nn.ModuleList(nn.Linear(2, 2) for _ in range(stages))
        self.head = nn.Linear(2, classes)

    def forward(self, batch):
        return {"loss": self.head(self.stages[0](self.backbone(batch))).square().mean()}


def trainer(model=None, kind=ClampedAdamW, no_decay=(), factor=1.0, amp="off", **options):
    model = model or Net()
    options = PLAIN | options
    groups = param_groups(
        model=model, lr=options["lr"], no_decay=no_decay, backbone_lr_factor=factor
    )
    batches = iter([torch.ones(1, 2)] * 9)
    return Trainer(model, batches, kind(groups, **options), amp=amp)


@pytest.fixture
def saved(tmp_path):
    """A trainer that has saved a checkpoint after a step."""
    first = trainer()
    for group in first.optimizer.param_groups:  # as a schedule leaves them
        group["initial_lr"], group["lr"] = group["lr"], 0.05
    first.train(0, 1)
    AtomicCheckpointer(first.model, str(tmp_path), trainer=first).save("model_0", iteration=0)
    return first


def resume(second, folder):
    return AtomicCheckpointer(second.model, str(folder), trainer=second).resume()


@pytest.mark.parametrize(
    ("key", "value"), [("weight_decay", 0.5), ("betas", (0.5, 0.6)), ("eps", 1e-3)]
)
def test_hyper_parameters_come_from_the_config(saved, tmp_path, key, value, caplog):
    second = trainer(**{key: value})
    assert resume(second, tmp_path) == 1
    groups = second.optimizer.param_groups
    assert [group[key] for group in groups] == [value] * len(groups)
    assert f"optimizer.{key}: " in caplog.text
    moments = [x.optimizer.state[x.model.head.weight]["exp_avg"] for x in (saved, second)]
    assert torch.equal(*moments)


def test_learning_rates_come_from_the_config(saved, tmp_path, caplog):
    second = trainer(lr=0.3, factor=0.1)
    resume(second, tmp_path)
    initial = [group["initial_lr"] for group in second.optimizer.param_groups]
    assert initial == pytest.approx([0.03, 0.3])
    assert [group["lr"] for group in second.optimizer.param_groups] == [0.05, 0.05]
    assert "optimizer.lr: 0.1 -> 0.3" in caplog.text


def test_without_changes_nothing_is_logged(saved, tmp_path, caplog):
    second = trainer()
    resume(second, tmp_path)
    assert "->" not in caplog.text
    before, after = (x.optimizer.state_dict()["param_groups"] for x in (saved, second))
    assert before == after


@pytest.mark.parametrize(
    ("second", "token"),
    [
        (lambda: trainer(Net(classes=4)), "head.weight"),
        (lambda: trainer(Net(stages=2)), "stages.1.weight"),
        (lambda: trainer(nn.Sequential(nn.Linear(2, 2))), "backbone.weight"),
        (lambda: trainer(no_decay=["bias"]), "no_decay"),
        (lambda: trainer(kind=torch.optim.AdamW), "AdamW"),
        (lambda: trainer(amp="fp16"), "train.amp"),
    ],
)
def test_other_settings_are_refused_in_one_line(saved, tmp_path, second, token):
    with pytest.raises(DataError, match="--resume needs the settings") as error:
        resume(second(), tmp_path)
    message = str(error.value)
    assert "\n" not in message and token in message
    assert f"train.init_checkpoint={tmp_path}/model_0.pth" in message


def test_checkpoint_without_ema_is_refused(saved, tmp_path):
    second = trainer()
    average = ModelEMA(second.model, 0.9).average
    with pytest.raises(DataError, match="'ema'"):
        AtomicCheckpointer(second.model, str(tmp_path), trainer=second, ema=average).resume()


ODD = [-3, 2.5, "text", [1], {"a": 1}, torch.zeros(2)]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize(
    "key",
    ["model", "iteration", "trainer", "trainer.optimizer", "trainer.groups", "trainer.metrics"],
)
def test_invalid_entry_is_refused_in_one_line(saved, tmp_path, key, odd):
    path = tmp_path / "model_0.pth"
    content = torch.load(path, weights_only=True)
    *parents, last = key.split(".")
    node = content
    for name in parents:
        node = node[name]
    node[last] = odd
    torch.save(content, path)
    second = trainer()
    with pytest.raises(DataError, match=r"model_0\.pth") as error:
        resume(second, tmp_path)
    assert "\n" not in str(error.value)


def test_meta_tensor_in_the_optimizer_is_refused(saved, tmp_path):
    path = tmp_path / "model_0.pth"
    content = torch.load(path, weights_only=True)
    state = copy.copy(content["trainer"]["optimizer"]["state"][0])
    state["exp_avg"] = torch.empty_like(state["exp_avg"], device="meta")
    content["trainer"]["optimizer"]["state"][0] = state
    torch.save(content, path)
    with pytest.raises(DataError, match="'trainer'"):
        resume(trainer(), tmp_path)


def test_nan_weights_are_refused_without_settings_advice(saved, tmp_path):
    path = tmp_path / "model_0.pth"
    content = torch.load(path, weights_only=True)
    name = next(iter(content["model"]))
    content["model"][name] = torch.full_like(content["model"][name], float("nan"))
    torch.save(content, path)
    with pytest.raises(UnusableTensorError, match=f"{name} has NaN") as error:
        resume(trainer(), tmp_path)
    assert "settings" not in str(error.value)


def test_changed_amsgrad_is_refused(tmp_path):
    first = trainer(kind=torch.optim.AdamW)
    first.train(0, 1)
    AtomicCheckpointer(first.model, str(tmp_path), trainer=first).save("model_0", iteration=0)
    with pytest.raises(DataError, match="optimizer.amsgrad"):
        resume(trainer(kind=torch.optim.AdamW, amsgrad=True), tmp_path)
