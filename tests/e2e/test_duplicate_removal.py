"""The frozen recipe by command: duplicate removal behind a detector, and what looks at it."""

import json
import re

import torch
from PIL import Image

from stageinteractor.cli.main import main
from stageinteractor.config import apply_overrides, load_config
from stageinteractor.engine.build import build_model

FROZEN = "digits_in_photos_duplicate_removal_frozen"


def test_frozen_recipe_from_training_to_figures(e2e_config, small_run, tmp_path, capsys):
    cfg, both, weights = load_config(e2e_config), tmp_path / "run", tmp_path / "detector.pth"
    apply_overrides(cfg, small_run)
    cfg.dataset.num_classes = 3
    before = build_model(cfg).state_dict()
    torch.save({"model": before}, weights)
    steps = ["train.max_iter=2", "train.eval_period=2", f"train.init_checkpoint={weights}"]
    assert main(["train", FROZEN, *small_run, *steps, "model.suppressor.num_heads=4"]) == 0
    after = torch.load(both / "model_final.pth", weights_only=True)["model"]
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(name.startswith("suppressor.") for name in set(after) - set(before))
    results = json.loads((both / "evaluation/coco_instances_results.json").read_text())
    assert len(results) == 8 * 12  # images, detections

    config, confident = str(both / "config.yaml"), tmp_path / "confident.pth"
    after["suppressor.head.linear.bias"] += 9.0  # the detector's own scores are near 0.01
    torch.save({"model": after}, confident)
    chosen = ["--images", "image_1.png", "--weights", str(confident)]
    assert main(["visualize-assignment", "--config-file", config, *chosen]) == 0
    page = (both / "assignment/image_1_queries.html").read_text()
    scores = [float(score) for score in re.findall(r"query \d+: \S+ (\d\.\d+)", page)]
    assert len(scores) == 8 and min(scores) > 0.5
    with Image.open(both / "assignment/image_1_duplicates.png") as figure:
        assert figure.format == "PNG"
    assert main(["unstable-score", "--config-file", config, "--images", "4"]) == 0
    (run,) = json.loads((both / "unstable_score/unstable_score.json").read_text()).values()
    assert list(run["unstable_score"]) == ["0 -> 1", "1 -> 2", "2 -> removal"]
    capsys.readouterr()
    assert main(["visualize", str(both), "--min-score", "0"]) == 0
    assert f"{len(results)} detections" in capsys.readouterr().out
    assert (both / "results/confusion.png").is_file()
