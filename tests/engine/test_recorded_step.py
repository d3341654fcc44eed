"""Files for the command replay: a recorded step is run again, others are refused in one line."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stageinteractor.config import load_config
from stageinteractor.engine.non_finite_step import savable_batch
from stageinteractor.engine.replay import read_recorded_step, replay
from stageinteractor.errors import DataError
from stageinteractor.synthetic import synthetic_batch

Content = dict[str, Any]


@pytest.fixture(scope="module")
def weights(tiny_run: Path) -> dict[str, torch.Tensor]:
    return torch.load(tiny_run / "model_best.pth", weights_only=True)["model"]


@pytest.fixture
def content(weights: dict[str, torch.Tensor]) -> Content:
    """A recorded step of the tiny config."""
    batch = savable_batch(synthetic_batch(2, (64, 96), num_gt=2, num_classes=3))
    numbers = {"iteration": 4, "micro": 0, "rank": 0, "seed": 7, "amp": "off"}
    return {"model": dict(weights), "batch": batch, **numbers}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], Path]:
    def save(content: Any) -> Path:
        path = tmp_path / "non_finite_0000004_rank0.pth"
        torch.save(content, path)
        return path

    return save


def test_recorded_step_is_run_again(tiny_run: Path, content: Content, write: Any):
    result = replay(load_config(tiny_run / "config.yaml"), write(content))
    assert (result.iteration, result.rank, result.amp, result.error) == (4, 0, "off", "")
    assert result.losses and not result.non_finite_parameters


@pytest.mark.parametrize("value", [None, "x", [3], [{}], [{"image": torch.zeros(3, 8, 8)}]])
def test_other_batches_are_refused_in_one_line(content: Content, write: Any, value: Any):
    path = write(content | {"batch": value})
    with pytest.raises(DataError, match="non_finite_") as error:
        read_recorded_step(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["model", "batch", "iteration", "amp"])
def test_a_missing_entry_is_named(content: Content, write: Any, name: str):
    del content[name]
    with pytest.raises(DataError, match=name):
        read_recorded_step(write(content))


def test_step_of_another_config_is_refused(tiny_run: Path, content: Content, write: Any):
    cfg = load_config(tiny_run / "config.yaml")
    other = copy.deepcopy(content)
    other["batch"][0]["instances"].gt_classes[0] = 3
    with pytest.raises(DataError, match="class 3"):
        replay(cfg, write(other))
    del content["model"][next(iter(content["model"]))]
    with pytest.raises(DataError, match="not of this config"):
        replay(cfg, write(content))


def test_non_finite_weights_are_reported(tiny_run: Path, content: Content, write: Any):
    name = next(name for name, value in content["model"].items() if "class_head" in name)
    content["model"][name] = torch.full_like(content["model"][name], torch.nan)
    result = replay(load_config(tiny_run / "config.yaml"), write(content))
    assert name in result.non_finite_parameters


@pytest.mark.parametrize("content", [[1], torch.ones(3), {}, {"a": torch.ones(2)}, None])
def test_other_files_are_refused_in_one_line(
    tiny_run: Path,
    write: Any,
    load_tool: Callable,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    content: Any,
):
    path = write(content)
    if content is None:
        path.unlink()
    config = ["--config-file", str(tiny_run / "config.yaml")]
    monkeypatch.setattr("sys.argv", ["replay.py", str(path), *config])
    assert load_tool("replay").main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and str(path) in line
