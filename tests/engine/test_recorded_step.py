"""Files for the command replay: a recorded step is run again, others are refused in one line."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stageinteractor.config import load_config
from stageinteractor.engine.non_finite_step import plain_batch
from stageinteractor.engine.recorded_step import read_recorded_step
from stageinteractor.engine.replay import replay
from stageinteractor.errors import DataError
from stageinteractor.synthetic import synthetic_batch

Content = dict[str, Any]


@pytest.fixture(scope="module")
def weights(tiny_run: Path) -> dict[str, torch.Tensor]:
    return torch.load(tiny_run / "model_best.pth", weights_only=True)["model"]


@pytest.fixture
def content(weights: dict[str, torch.Tensor]) -> Content:
    """A recorded step of the tiny config."""
    batch = plain_batch(synthetic_batch(2, (64, 96), num_gt=2, num_classes=3))
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


NAN, SPARSE = torch.full((2, 4), torch.nan), torch.eye(3).to_sparse()
META, EMPTY = torch.ones(3, 8, 8, device="meta"), torch.ones(3, 0, 8)
IMAGE = torch.zeros(3, 64, 96, dtype=torch.uint8)
TOP = {
    "iteration": [None, "4", 1.5, -1, True, [4], 2**70],
    "micro": ["x", -1],
    "rank": [None, {}],
    "seed": ["7", -7, [7]],
    "amp": ["fp8", None, ["off"], {}, 3],
    "model": [None, [], [1], "x", {3: torch.ones(2)}, {"a": 3}, {"a": SPARSE}, {"a": META}],
    "batch": [None, [], {}, "x", [3], [None], [{}], [[]], torch.ones(3)],
}
IMAGES = [None, "x", torch.zeros(64, 96), torch.zeros(4, 64, 96), EMPTY, META, SPARSE]
IMAGES.append(torch.zeros(1).expand(3, 100_000, 100_000))  # 120 GB if copied


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in TOP.items() for v in values])
def test_invalid_entry_is_named(content: Content, write: Any, name: str, value: Any):
    path = write(content | {name: value})
    with pytest.raises(DataError) as error:
        read_recorded_step(path)
    message = str(error.value)
    assert str(path) in message and name in message
    assert "\n" not in message and len(message) < 300 + len(str(path))


def change(path: str, value: Any) -> Callable[[Content], None]:
    *folders, last = path.split("/")

    def apply(item: Content) -> None:
        for folder in folders:
            item = item[folder]
        if value is ...:
            del item[last]
        else:
            item[last] = value

    return apply


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *(("image", image) for image in IMAGES),
        ("image", IMAGE[:, :50]),
        ("instances", ...),
        ("instances", {}),
        ("instances", IMAGE),
        ("instances", {"boxes": torch.zeros(2, 4)}),
        ("instances/fields", []),
        ("instances/image_size", ...),
        ("instances/image_size", [64]),
        ("instances/image_size", ["64", 96]),
        ("instances/fields/gt_boxes", ...),
        ("instances/fields/gt_boxes", torch.zeros(2, 4)),
        ("instances/fields/gt_boxes/boxes", torch.zeros(2, 5)),
        ("instances/fields/gt_boxes/boxes", torch.zeros(3, 4)),
        ("instances/fields/gt_boxes/boxes", NAN),
        ("instances/fields/gt_boxes/boxes", NAN.to("meta")),
        ("instances/fields/gt_classes", ...),
        ("instances/fields/gt_classes", torch.tensor(1)),
        ("instances/fields/gt_classes", torch.tensor([0.5, 1.0])),
        ("instances/fields/gt_classes", torch.tensor([-1, 0])),
        ("instances/fields/gt_classes", [0, 1]),
        ("instances/fields/other", 3),
        ("other", {"a": 3}),
    ],
)
def test_invalid_image_is_named(content: Content, write: Any, path: str, value: Any):
    change(path, value)(content["batch"][0])
    with pytest.raises(DataError, match="image 0 of batch"):
        read_recorded_step(write(content))


def test_step_of_another_config_is_refused(tiny_run: Path, content: Content, write: Any):
    cfg = load_config(tiny_run / "config.yaml")
    other = copy.deepcopy(content)
    other["batch"][0]["instances"]["fields"]["gt_classes"][0] = 3
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
