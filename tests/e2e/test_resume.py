"""A run that is stopped by a signal and resumed equals the uninterrupted run."""

import json
import signal
import time
from pathlib import Path

import pytest
import torch
from faults.conftest import same

from stageinteractor.engine.checkpointing import AtomicCheckpointer
from stageinteractor.engine.stopping import StopRequest
from stageinteractor.engine.trainer import Trainer
from stageinteractor.evaluation import CocoEvaluator

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
    state = torch.load(run / name, weights_only=True)
    state["trainer"].pop("metrics")
    return state


def metrics(run: Path) -> list[str]:
    """The lines of metrics.json as texts, in which NaN equals NaN, without times, in order."""
    lines = [json.loads(line) for line in (run / "metrics.json").read_text().splitlines()]
    lines.sort(key=lambda line: line["iteration"])
    kept = [{k: v for k, v in x.items() if "time" not in k and "seconds" not in k} for x in lines]
    return [json.dumps(line) for line in kept if len(line) > 1]


def stop_after_saving(monkeypatch, name: str) -> None:
    """Raise SIGTERM when this checkpoint has been written."""
    save = AtomicCheckpointer.save

    def save_and_stop(self, saved: str, **content) -> None:
        save(self, saved, **content)
        if saved == name:
            monkeypatch.undo()
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(AtomicCheckpointer, "save", save_and_stop)


@pytest.fixture(scope="module")
def finished():
    """Holds the folder of the uninterrupted run, once it has run."""
    return []


@pytest.fixture
def expected(finished, call, small_run, tmp_path_factory) -> Path:
    if not finished:
        folder = tmp_path_factory.mktemp("uninterrupted") / "run"
        call(*small_run, *SETTINGS, f"train.output_dir={folder}")
        finished.append(folder)
    return finished[0]


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["model_0000001", "model_best", "model_0000005", "model_final"])
def test_resumed_run_equals_the_uninterrupted_one(
    call, small_run, tmp_path, monkeypatch, moment, expected
):
    run = tmp_path / "run"
    stop_after_saving(monkeypatch, moment)
    with pytest.raises(SystemExit) as stop:
        call(*small_run, *SETTINGS)
    assert stop.value.code == 143
    call("--resume", *small_run, *SETTINGS)
    for name in ("model_final.pth", "model_best.pth"):
        assert same(content(run, name), content(expected, name)), name
    assert metrics(run) == metrics(expected)
    names = [sorted(path.name for path in each.glob("*.pth")) for each in (run, expected)]
    assert names[0] == names[1]


def test_stop_interrupts_an_evaluation_and_saves(call, small_run, tmp_path, monkeypatch):
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


def test_stop_during_a_wait_for_data_saves(call, small_run, tmp_path, monkeypatch):
    from stageinteractor.data.loaders import TrainingImages
    from stageinteractor.engine import stopping

    settings = [*small_run, *SETTINGS, "train.max_iter=4", "train.eval_period=0"]
    settings += ["dataloader.train.num_workers=0", "train.checkpointer.max_to_keep=9"]
    call(*settings, f"train.output_dir={tmp_path / 'uninterrupted'}")
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
    contents = [content(tmp_path / name, "model_0000001.pth") for name in ("run", "uninterrupted")]
    assert same(*contents)


def test_resume_never_starts_from_another_training(call, small_run, tmp_path, monkeypatch):
    settings = [*small_run, *SETTINGS, "train.max_iter=1", "train.eval_period=0"]
    call(*settings)

    class Killed(BaseException):
        pass

    def kill(trainer) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Trainer, "run_step", kill)
        call(*settings)
    run = tmp_path / "run"
    assert (run / "last_checkpoint.previous").read_text() == "model_final.pth"
    call("--resume", *settings)
    assert "training from iteration 0 to 1" in (run / "log.txt").read_text().split("has no last")[1]
    assert (run / "last_checkpoint").read_text() == "model_final.pth"


def test_finished_run_is_evaluated_again_with_other_settings(
    call, small_run, tmp_path, monkeypatch
):
    settings, file = (
        [*small_run, *SETTINGS, "train.max_iter=1"],
        tmp_path / "run/last_evaluation.json",
    )
    call(*settings)
    written = file.stat().st_mtime_ns
    call("--resume", *settings)
    assert file.stat().st_mtime_ns == written
    other = [*settings, "dataloader.evaluator.nms_threshold=0.5"]
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(CocoEvaluator, "process", lambda *_: signal.raise_signal(signal.SIGTERM))
        call("--resume", *other)
    call("--resume", *other)  # whose settings are those of config.yaml now
    assert '"bbox_nms"' in file.read_text()
    assert (file.parent / "model_best.previous.pth").is_file()
    assert (file.parent / "model_best.pth").is_file()


@pytest.fixture
def lose_connection(call, small_run, tmp_path, monkeypatch):
    """Train, get a SIGTERM at the start of the second call of a method, and fail in its place."""

    def train(owner: type, method: str) -> tuple[Path, Path]:
        settings = [*small_run, *SETTINGS, "train.max_iter=3", "train.eval_period=0"]
        settings += ["train.checkpointer.max_to_keep=9", "dataloader.train.num_workers=0"]
        call(*settings, "train.checkpointer.period=1", f"train.output_dir={tmp_path / 'whole'}")
        original, calls = getattr(owner, method), []

        def fail_later(*arguments):
            calls.append(method)
            if len(calls) == 2:
                signal.raise_signal(signal.SIGTERM)
                raise RuntimeError("[gloo/transport/tcp/pair.cc:545] Connection closed by peer")
            return original(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(owner, method, fail_later)
            with pytest.raises(SystemExit) as stop:
                call(*settings, "train.checkpointer.period=9")
        assert stop.value.code == 143
        return tmp_path / "run", tmp_path / "whole"

    return train


def test_lost_connection_after_a_forward_pass_saves_nothing(lose_connection):
    """Batch-norm statistics have changed by then."""
    run, _ = lose_connection(Trainer, "_update")
    assert not list(run.glob("*.pth"))
    last = (run / "log.txt").read_text().splitlines()[-1]
    assert "stopped within iteration 1; there is no earlier checkpoint to resume from" in last


def test_lost_connection_after_an_iteration_saves_it(lose_connection):
    run, whole = lose_connection(StopRequest, "agreed")
    assert (run / "last_checkpoint").read_text() == "model_0000001.pth"
    assert same(*(content(folder, "model_0000001.pth") for folder in (run, whole)))
