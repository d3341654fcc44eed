"""The score thresholds of a checkpoint: where they are saved, and which are taken."""

import json
from types import SimpleNamespace

import fsspec
import pytest
import torch
from detectron2.utils.events import EventStorage
from safetensors.torch import save
from torch import nn

from stageinteractor.engine.best_metric import BestCheckpoint
from stageinteractor.engine.checkpointing import AtomicCheckpointer
from stageinteractor.engine.min_scores import (
    MinScores,
    find_min_scores,
    min_scores_of_metrics,
    note_checkpoint,
)
from stageinteractor.engine.weights import read_checkpoint
from stageinteractor.errors import DataError

METRICS = {"best_f1/F1": 71.0, "best_f1/score": 0.4, "best_f1/score-a-b": 0.3, "bbox/AP": 9.0}
EXPECTED = MinScores(0.4, {"a-b": 0.3})


def scores_of(path) -> MinScores | None:
    return find_min_scores(path, read_checkpoint(path))


def test_scores_of_metrics_and_of_classes_without_one():
    assert min_scores_of_metrics(METRICS) == EXPECTED
    assert min_scores_of_metrics({"bbox/AP": 9.0}) is None
    assert EXPECTED.by_class(["c", "a-b"]) == [0.4, 0.3]


def test_the_best_checkpoint_has_the_scores_of_its_evaluation(tmp_path):
    hook = BestCheckpoint(AtomicCheckpointer(nn.Linear(2, 1), str(tmp_path)), "bbox/AP", False)
    with EventStorage(8) as storage:
        hook.trainer = SimpleNamespace(storage=storage, start_iter=8)
        hook.before_train()
        storage.put_scalar("best_f1/score-gone", 0.9, cur_iter=5)  # of an earlier evaluation
        storage.put_scalars(**METRICS, cur_iter=8)
        hook.after_step()
    assert scores_of(tmp_path / "model_best.pth") == EXPECTED


def write_metrics(folder, iteration):
    line = {"iteration": iteration} | METRICS
    (folder / "metrics.json").write_text(json.dumps(line) + "\n")


@pytest.mark.parametrize(
    ("name", "iteration", "has_scores"),
    [("model_0000009.pth", 9, True), ("model_0000009.pth", 8, False), ("model_final.pth", 8, True)],
)
def test_other_checkpoints_have_those_of_their_iteration(tmp_path, name, iteration, has_scores):
    torch.save({"model": {}, "iteration": iteration}, tmp_path / name)
    write_metrics(tmp_path, 9)
    assert scores_of(tmp_path / name) == (EXPECTED if has_scores else None)


def test_an_evaluation_counts_for_its_own_checkpoint(tmp_path):
    for name in ("first.pth", "second.pth"):
        torch.save({"model": {}}, tmp_path / name)
    folder = tmp_path / "evaluation"
    folder.mkdir()
    note_checkpoint(folder, tmp_path / "first.pth")  # without ground truth there is no file
    content = {"overall": {"score": 0.4}, "classes": {"a-b": {"score": 0.3}}}
    (folder / "score_thresholds.json").write_text(json.dumps(content))
    assert scores_of(tmp_path / "first.pth") is None
    note_checkpoint(folder, tmp_path / "first.pth")
    assert scores_of(tmp_path / "first.pth") == EXPECTED
    assert scores_of(tmp_path / "second.pth") is None


@pytest.mark.parametrize("query", ["", "?download=true"])
def test_a_safetensors_file_behind_a_url_has_those_of_its_metadata(query):
    metadata = {"min_scores": json.dumps(EXPECTED._asdict())}
    memory = fsspec.filesystem("memory")
    memory.pipe(f"/shared/model.safetensors{query}", save({"weight": torch.ones(1)}, metadata))
    assert scores_of(f"memory://shared/model.safetensors{query}") == EXPECTED
    memory.rm("/shared", recursive=True)


@pytest.mark.parametrize(
    "value", [{"score": 2.0, "classes": {}}, {"score": 0.4, "classes": {"a": None}}, "0.4", {}]
)
def test_unusable_scores_are_named_with_their_file(tmp_path, value):
    torch.save({"model": {}, "min_scores": value}, tmp_path / "model_best.pth")
    with pytest.raises(DataError, match=r"model_best\.pth: min_scores"):
        scores_of(tmp_path / "model_best.pth")
