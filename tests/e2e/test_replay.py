"""A training that stops on a non-finite loss saves the step; the command replay repeats it."""

import math
import re

import pytest
import torch

from stageinteractor.config import load_config
from stageinteractor.engine.replay import read_recorded_step, replay
from stageinteractor.errors import ConfigError, DataError, NonFiniteLossError


@pytest.fixture
def stopped(train_net, small_run, tmp_path, e2e_config):
    """The message of a training whose learning rate is absurd, and the file that it saved."""
    options = ["optimizer.lr=1e30", "train.max_iter=20", "train.clip_grad.enabled=false"]
    options += ["train.seed=3"]
    options += ["train.accumulate=2"]
    args = train_net.parse_args(["--config-file", e2e_config, *small_run, *options])
    with pytest.raises(NonFiniteLossError) as error:
        train_net.run(args)
    (path,) = (tmp_path / "run").glob("non_finite_*_rank0.pth")
    return str(error.value), path


def test_message_names_loss_iteration_images_and_file(stopped):
    message, path = stopped
    assert re.search(
        r"iteration \d+, image ids \d+, \d+: .*(loss_\w+ of stage \d is (nan|inf)|costs of stage)",
        message,
    )
    assert f"{path} holds batch and weights" in message and "optimizer.lr" in message


def test_replay_repeats_the_non_finite_losses(stopped, load_tool, monkeypatch, capsys):
    message, path = stopped
    result = replay(load_config(path.with_name("config.yaml")), path)
    ids = ", ".join(str(item["image_id"]) for item in result.batch)
    assert f"iteration {result.iteration}, image ids {ids}: " in message
    if result.error:
        assert result.error in message
    else:
        names = [name for name, value in result.losses.items() if not math.isfinite(value)]
        terms = re.findall(r"(loss_\w+) of stage (\d)", message)
        assert names == [f"{term}_{stage}" for term, stage in terms]
    monkeypatch.setattr("sys.argv", ["replay.py", str(path)])
    assert load_tool("replay").main() == 0
    printed = capsys.readouterr().out
    assert f"iteration {result.iteration}, rank 0, precision off, image ids {ids}" in printed
    assert "modules with non-finite output, in order: " in printed


def test_resume_does_not_start_from_the_saved_step(stopped):
    folder = stopped[1].parent
    assert not (folder / "last_checkpoint").exists()
    assert not (folder / "model_final.pth").exists()


def test_wrong_precision_file_and_config_are_refused(stopped, tmp_path):
    _, path = stopped
    cfg = load_config(path.with_name("config.yaml"))
    with pytest.raises(ConfigError, match="--amp 'fp8'"):
        replay(cfg, path, "fp8")
    torch.save({"model": read_recorded_step(path).model}, tmp_path / "model.pth")
    with pytest.raises(DataError, match="batch"):
        replay(cfg, tmp_path / "model.pth")
    cfg.model.queries.num_queries = 13
    with pytest.raises(DataError, match="queries"):
        replay(cfg, path)
