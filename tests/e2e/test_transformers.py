"""A model of transformers through stageinteractor train: train, evaluate, resume, without code."""

import json
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "projects/stageinteractor/configs/demo"


@pytest.fixture
def small_deformable(small_run):
    """Overrides that make the demo's Deformable DETR a quick run on the shapes."""
    ours = ("model.backbone", "model.decoder", "model.queries")
    return [
        *(option for option in small_run if not option.startswith(ours)),
        "model.backbone.weights=null",
        "model.model.config.num_queries=12",
        "model.model.config.d_model=32",
        "model.model.config.encoder_layers=1",
        "model.model.config.decoder_layers=2",
        "train.checkpointer.period=2",
        "train.eval_period=0",
    ]


@pytest.mark.parametrize("name", ["", "_stable"])
def test_train_evaluate_and_resume(call, small_deformable, tmp_path, name):
    config = DEMO / f"digits_in_photos_deformable_detr{name}.py"
    call("train.max_iter=2", *small_deformable, config=config)
    call("--resume", "train.max_iter=4", *small_deformable, config=config)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.json").read_text().splitlines()]
    assert [line["iteration"] for line in lines if "total_loss" in line] == [0, 1, 2, 3]
    assert "bbox/AP" in set().union(*lines)
    assert "assigner/labels_added_1" in lines[0]
    assert "terms/loss_ce_0" in lines[0]
    call("--eval-only", config=tmp_path / "run/config.yaml")
