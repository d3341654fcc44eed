"""The frozen recipe by command: detector, duplicate removal behind it, and what looks at both."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from stageinteractor.cli.main import main

FROZEN = "digits_in_photos_duplicate_removal_frozen"
WIDE = ["model.suppressor.num_heads=4", "train.eval_period=0"]


@pytest.fixture
def runs(call, small_run, tmp_path) -> tuple[Path, Path]:
    """Folders of a detector, and of duplicate removal behind it: 2 iterations each."""
    detector, both = tmp_path / "run", tmp_path / "both"
    call("train.max_iter=2", "train.eval_period=0", *small_run)
    options = [each for each in small_run if not each.startswith("train.output_dir")]
    weights = f"train.init_checkpoint={detector}/model_final.pth"
    command = ["train", FROZEN, weights, f"train.output_dir={both}", "train.max_iter=2"]
    assert main([*command, *WIDE, *options]) == 0
    return detector, both


def read(path: Path):
    return json.loads(path.read_text())


def test_frozen_recipe_from_training_to_figures(runs, capsys):
    detector, both = runs
    before, after = (
        torch.load(folder / "model_final.pth", weights_only=True)["model"] for folder in runs
    )
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(name.startswith("suppressor.") for name in set(after) - set(before))

    config = str(both / "config.yaml")
    assert main(["eval", str(detector / "config.yaml")]) == main(["eval", config]) == 0
    scores, rescored = (
        [each["score"] for each in read(folder / "evaluation/coco_instances_results.json")]
        for folder in runs
    )
    assert len(scores) == len(rescored) and scores != rescored

    assert main(["visualize-assignment", "--config-file", config, "--images", "image_1.png"]) == 0
    with Image.open(both / "assignment/image_1_duplicates.png") as figure:
        assert figure.format == "PNG"
    assert main(["unstable-score", "--config-file", config, "--images", "4"]) == 0
    (run,) = read(both / "unstable_score/unstable_score.json").values()
    assert list(run["unstable_score"]) == ["0 -> 1", "1 -> 2", "2 -> removal"]

    capsys.readouterr()
    assert main(["visualize", str(both), "--min-score", "0"]) == 0
    assert f"{len(rescored)} detections" in capsys.readouterr().out
    assert (both / "results/confusion.png").is_file()
