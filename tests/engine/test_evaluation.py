import shutil
from pathlib import Path

import pytest
from malformed_json import ODD_CONTENTS, make_odd

from stageinteractor.config import load_config
from stageinteractor.engine import evaluation
from stageinteractor.engine.evaluation import LastEvaluation, evaluate

RESULT = {"bbox": {"AP": 12.5}}


def not_called():
    pytest.fail("evaluated again")


@pytest.fixture
def folder(tmp_path) -> str:
    """Where a run has evaluated after iteration 9."""
    assert LastEvaluation(str(tmp_path)).get(9, lambda: RESULT) == RESULT
    return str(tmp_path)


def test_evaluated_weights_are_not_evaluated_again(folder):
    resumed = LastEvaluation(folder, resumed=9)
    assert resumed.get(9, not_called) == RESULT
    assert resumed.results == RESULT


@pytest.mark.parametrize(("resumed", "iteration"), [(None, 9), (9, 19), (8, 9), (8, 8)])
def test_other_weights_are_evaluated(folder, resumed, iteration):
    other = {"bbox": {"AP": 20.0}}
    last = LastEvaluation(folder, resumed)
    assert last.get(iteration, lambda: other) == last.results == other
    assert LastEvaluation(folder, iteration).get(iteration, not_called) == other


def test_nan_is_saved_and_loaded(tmp_path):
    LastEvaluation(str(tmp_path)).get(1, lambda: {"bbox": {"APl": float("nan")}})
    value = LastEvaluation(str(tmp_path), 1).get(1, not_called)["bbox"]["APl"]
    assert value != value


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"iteration": 9}',
        b'{"iteration": 9, "results": null}',
        b'{"iteration": 9, "results": [1]}',
        b'{"iteration": 9, "results": {"bbox": 3}}',
        b'{"iteration": 9, "results": {"bbox": {"AP": "high"}}}',
        b'{"iteration": 9, "results": {"bbox": {"AP": [1]}}}',
        b'{"iteration": 9, "results": {"bbox": {"AP": 1' + b"0" * 400 + b"}}}",
        b'{"iteration": ' + b"9" * 5000 + b"}",
    ],
)
def test_invalid_file_is_evaluated_again(folder, content, caplog):
    path = Path(folder) / "last_evaluation.json"
    path.write_bytes(content)
    other = {"bbox": {"AP": 20.0}}
    assert LastEvaluation(folder, resumed=9).get(9, lambda: other) == other
    (message,) = caplog.messages
    assert str(path) in message and "evaluated again" in message
    assert LastEvaluation(folder, resumed=9).get(9, not_called) == other


@pytest.mark.parametrize("kind", ODD_CONTENTS)
def test_malformed_file_is_evaluated_again(folder, kind):
    make_odd(Path(folder) / "last_evaluation.json", kind)
    other = {"bbox": {"AP": 20.0}}
    assert LastEvaluation(folder, resumed=9).get(9, lambda: other) == other
    assert LastEvaluation(folder, resumed=9).get(9, not_called) == other


def test_the_log_says_if_the_evaluated_checkpoint_is_not_the_best(
    tiny_run, tmp_path, monkeypatch, caplog
):
    best = Path(shutil.copytree(tiny_run, tmp_path / "run")) / "model_best.pth"
    cfg = load_config(tiny_run / "config.yaml")
    cfg.train.output_dir = str(best.parent)
    monkeypatch.setattr(evaluation, "run_evaluation", lambda cfg, model: RESULT)
    monkeypatch.setattr(
        evaluation, "prepare", lambda cfg, eval_only: None
    )  # its logger does not propagate
    caplog.set_level("INFO", "stageinteractor.engine.evaluation")
    assert evaluate(cfg) == evaluate(cfg, str(best)) == RESULT
    assert "train.init_checkpoint" not in caplog.text
    shutil.copy(best, best.parent / "model_final.pth")
    (best.parent / "last_checkpoint").write_text("model_final.pth")
    assert evaluate(cfg) == RESULT
    assert f"train.init_checkpoint={best}" in caplog.text
    assert "model_final.pth" in caplog.text
