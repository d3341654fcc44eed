"""A training that stops on a bad loss leaves what tools/replay.py needs to show it again."""

import re

import pytest
import torch

from stageinteractor.config import load_config
from stageinteractor.engine.replay import replay
from stageinteractor.errors import ConfigError, DataError, NonFiniteLossError


@pytest.fixture
def stopped(train_net, small_run, tmp_path, e2e_config):
    """The message of a training whose learning rate is absurd, and the file that it left."""
    options = ["optimizer.lr=1e30", "train.max_iter=20", "train.clip_grad=null", "train.seed=3"]
    options += ["train.accumulate=2"]
    args = train_net.parse_args(["--config-file", e2e_config, *small_run, *options])
    with pytest.raises(NonFiniteLossError) as caught:
        train_net.run(args)
    (path,) = (tmp_path / "run").glob("non_finite_*_rank0.pth")
    return str(caught.value), path


def test_the_message_names_stage_term_iteration_images_and_file(stopped):
    message, path = stopped
    assert re.search(
        r"iteration \d+, image ids \d+, \d+: .*(loss_\w+ of stage \d is (nan|inf)|costs of stage)",
        message,
    )
    assert f"{path} holds batch and weights" in message and "optimizer.lr" in message


def test_the_file_shows_the_same_again(stopped, load_tool, monkeypatch, capsys):
    message, path = stopped
    found = replay(load_config(path.with_name("config.yaml")), path)
    ids = ", ".join(str(item["image_id"]) for item in found.batch)
    assert f"iteration {found.iteration}, image ids {ids}: " in message
    if found.error:
        assert found.error in message
    else:
        bad = [name for name, value in found.losses.items() if not torch.tensor(value).isfinite()]
        told = re.findall(r"(loss_\w+) of stage (\d)", message)
        assert bad == [f"{term}_{stage}" for term, stage in told]
    monkeypatch.setattr("sys.argv", ["replay.py", str(path)])
    assert load_tool("replay").main() == 0
    printed = capsys.readouterr().out
    assert f"iteration {found.iteration}, rank 0, train.amp=off, image ids {ids}" in printed
    assert "modules whose output was not finite, first one first: " in printed


def test_resuming_does_not_begin_from_that_file(stopped):
    assert not (stopped[1].parent / "last_checkpoint").exists()


def test_a_file_of_something_else_is_refused(stopped, tmp_path):
    _, path = stopped
    cfg = load_config(path.with_name("config.yaml"))
    with pytest.raises(ConfigError, match="--amp 'fp8'"):
        replay(cfg, path, "fp8")
    content = torch.load(path, weights_only=True)
    torch.save({"model": content["model"]}, tmp_path / "model.pth")
    with pytest.raises(DataError, match="lacks batch, iteration"):
        replay(cfg, tmp_path / "model.pth")
    cfg.model.queries.num_queries = 13
    with pytest.raises(DataError, match="is not of this config: .*queries"):
        replay(cfg, path)
