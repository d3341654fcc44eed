"""A run that is stopped at any moment and resumed equals the uninterrupted run."""

import random
import signal
import subprocess
import time

import pytest
import torch
from faults.conftest import TIMES, Run, same
from tally import count_fault

RANDOM_KILLS = 10
KILLS_IN_A_CHECKPOINT = 3
TRANSFORMS = "detectron2.data.transforms"
SETTINGS = [
    "model.decoder.num_stages=2",
    "train.max_iter=90",
    "train.checkpointer.period=4",
    "train.checkpointer.max_to_keep=2",
    "train.eval_period=18",
    "train.log_period=3",
    "train.model_ema.enabled=true",
    "train.accumulate=2",
    "dataloader.train.num_workers=1",
    "dataloader.train.aspect_ratio_grouping=true",
    "dataloader.train.mapper.augmentations="
    f"[{{_target_: {TRANSFORMS}.RandomFlip}}, {{_target_: {TRANSFORMS}.RandomBrightness,"
    " intensity_min: 0.5, intensity_max: 1.5}]",
]


@pytest.fixture(scope="module")
def cache():
    """Holds the uninterrupted run and its duration, once it has run."""
    return {}


@pytest.fixture
def uninterrupted(cache, new_run, tmp_path_factory) -> tuple[Run, float]:
    if not cache:
        folder = tmp_path_factory.mktemp("uninterrupted") / "run"  # tmp_path ends with one test
        run = Run(folder, new_run(*SETTINGS).overrides)
        process = run.start()
        run.wait_for(lambda: is_training(run), process)
        begin = time.monotonic()
        assert process.wait(400) == 0, run.output()
        cache["run"] = run, time.monotonic() - begin
    return cache["run"]


def is_training(run: Run, times: int = 1) -> bool:
    return run.output().count("training from iteration") >= times


def state(run: Run, name: str) -> dict:
    """Everything in a checkpoint but the times among its metrics."""
    content = torch.load(run.folder / name, weights_only=True)
    trainer = dict(content["trainer"])
    trainer["metrics"] = {
        name: value
        for name, value in trainer["metrics"].items()
        if not any(part in name for part in TIMES)
    }
    return content | {"trainer": trainer}


def assert_same_end(run: Run, expected: Run) -> None:
    for name in ("model_final.pth", "model_best.pth"):
        assert same(state(run, name), state(expected, name)), name
    assert len(expected.metrics()) > 20
    assert same(run.metrics(), expected.metrics())
    names = [sorted(p.name for p in each.folder.glob("*.pth")) for each in (run, expected)]
    assert names[0] == names[1]
    assert not temporary_files(run)


def temporary_files(run: Run) -> list:
    return list(run.folder.glob(".model*"))


def test_killed_at_random_moments_and_resumed(new_run, uninterrupted):
    expected, seconds = uninterrupted
    moments, kills = random.Random(0), 0
    while kills < RANDOM_KILLS:  # one run takes all kills, unless this machine has become faster
        run, starts = new_run(*SETTINGS), 0
        process = None
        while process is None or process.returncode:
            process, starts = run.start("--resume"), starts + 1
            run.wait_for(lambda: is_training(run, starts), process)  # noqa: B023
            try:
                process.wait(None if kills == RANDOM_KILLS else moments.uniform(0, seconds / 8))
            except subprocess.TimeoutExpired:
                run.kill(process)
                kills += 1
            assert process.returncode in (0, -signal.SIGKILL), run.output()
        assert_same_end(run, expected)
    count_fault("SIGKILL at a random moment", kills)


def test_killed_while_a_checkpoint_is_written(new_run, uninterrupted):
    expected, _ = uninterrupted
    run, incomplete = new_run(*SETTINGS), 0
    for _ in range(KILLS_IN_A_CHECKPOINT):
        process = run.start("--resume")
        run.wait_for(lambda: bool(temporary_files(run)), process)
        run.kill(process)
        incomplete += bool(temporary_files(run))
        count_fault("SIGKILL during a checkpoint")
    assert incomplete, "every file was complete before the kill"
    run.finish("--resume")
    assert_same_end(run, expected)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_stop_signal_writes_a_checkpoint(new_run, uninterrupted, number):
    expected, _ = uninterrupted
    run = new_run(*SETTINGS)
    process = run.start()
    run.wait_for(lambda: " iter: 29 " in run.output(), process)
    process.send_signal(number)
    assert process.wait(120) == 128 + number, run.output()
    assert "Traceback" not in run.output()
    last = (run.folder / "last_checkpoint").read_text()
    stopped = int(last.removeprefix("model_").removesuffix(".pth"))
    assert f"stopped after iteration {stopped}; --resume continues" in run.output()
    run.finish("--resume")
    assert f"training from iteration {stopped + 1} to 90" in run.output()
    assert_same_end(run, expected)
    count_fault(signal.Signals(number).name)


def test_finished_run_is_not_repeated(new_run, uninterrupted):
    run, _ = uninterrupted
    before = [state(run, "model_final.pth"), run.metrics()]
    run.finish("--resume")
    assert same([state(run, "model_final.pth"), run.metrics()], before)
    assert "training from iteration 90 to 90" in run.output()
