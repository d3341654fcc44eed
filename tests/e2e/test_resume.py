"""A run that was asked to stop and was resumed is the run that nobody stopped."""

import json
import signal
import time
from pathlib import Path

import pytest
import torch
from faults.conftest import same

from stageinteractor.engine.checkpointing import AtomicCheckpointer

SETTINGS = [
    "train.max_iter=7",
    "train.checkpointer.period=2",
    "train.checkpointer.max_to_keep=1",
    "train.eval_period=2",
    "train.log_period=3",
    "train.model_ema.enabled=true",
    "train.accumulate=2",
    "model.decoder.num_stages=2",
    "dataloader.train.aspect_ratio_grouping=true",
    "dataloader.train.mapper.augmentations=[{_target_: detectron2.data.transforms.RandomFlip}]",
]


def content(run: Path, name: str) -> dict:
    found = torch.load(run / name, weights_only=True)
    found["trainer"].pop("metrics")
    return found


def metrics(run: Path) -> list[str]:
    """The lines of metrics.json as texts, in which NaN equals NaN, without times, in order."""
    lines = [json.loads(line) for line in (run / "metrics.json").read_text().splitlines()]
    lines.sort(key=lambda line: line["iteration"])
    kept = [{k: v for k, v in x.items() if "time" not in k and "seconds" not in k} for x in lines]
    return [json.dumps(line) for line in kept if len(line) > 1]


def stop_after_saving(monkeypatch, name: str) -> None:
    """Let a SIGTERM come when this checkpoint has been written."""
    save = AtomicCheckpointer.save

    def save_and_stop(self, saved: str, **content) -> None:
        save(self, saved, **content)
        if saved == name:
            monkeypatch.undo()
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(AtomicCheckpointer, "save", save_and_stop)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["model_0000001", "model_best", "model_0000005", "model_final"])
def test_stopped_and_resumed_it_ends_as_if_never_stopped(
    call, small_run, tmp_path, monkeypatch, moment
):
    wanted, run = tmp_path / "wanted", tmp_path / "run"
    call(*small_run, *SETTINGS, f"train.output_dir={wanted}")
    stop_after_saving(monkeypatch, moment)
    with pytest.raises(SystemExit) as stop:
        call(*small_run, *SETTINGS)
    assert stop.value.code == 143
    call("--resume", *small_run, *SETTINGS)
    for name in ("model_final.pth", "model_best.pth"):
        assert same(content(run, name), content(wanted, name)), name
    assert metrics(run) == metrics(wanted)
    names = [sorted(path.name for path in each.glob("*.pth")) for each in (run, wanted)]
    assert names[0] == names[1]


def test_a_stop_during_an_evaluation_leaves_it_off_and_saves(
    call, small_run, tmp_path, monkeypatch
):
    from stageinteractor.evaluation import CocoEvaluator

    process = CocoEvaluator.process

    def process_and_stop(self, inputs, outputs) -> None:
        process(self, inputs, outputs)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(CocoEvaluator, "process", process_and_stop)
    with pytest.raises(SystemExit) as stop:
        call(*small_run, *SETTINGS, "train.eval_period=1")
    assert stop.value.code == 143
    assert (tmp_path / "run/last_checkpoint").read_text() == "model_0000000.pth"
    assert not (tmp_path / "run/last_evaluation.json").exists()


def test_a_stop_while_data_does_not_come_saves_what_is_finished(
    call, small_run, tmp_path, monkeypatch
):
    from stageinteractor.data.loaders import TrainingImages
    from stageinteractor.engine import stopping

    settings = [*small_run, *SETTINGS, "train.max_iter=4", "train.eval_period=0"]
    settings += ["dataloader.train.num_workers=0", "train.checkpointer.max_to_keep=9"]
    call(*settings, f"train.output_dir={tmp_path / 'unstopped'}")
    get, taken = TrainingImages.__getitem__, []

    def get_or_wait(self, place):
        taken.append(place)
        if len(taken) == 11:  # of the third iteration, whose first micro-batch has come
            signal.raise_signal(signal.SIGTERM)
            time.sleep(60)
        return get(self, place)

    monkeypatch.setattr(TrainingImages, "__getitem__", get_or_wait)
    monkeypatch.setattr(stopping, "DATA_TIMEOUT", 0.1)
    with pytest.raises(SystemExit) as stop:
        call(*settings, "train.checkpointer.period=9")
    assert stop.value.code == 143
    assert (tmp_path / "run/last_checkpoint").read_text() == "model_0000001.pth"
    contents = [content(tmp_path / name, "model_0000001.pth") for name in ("run", "unstopped")]
    assert same(*contents)
