"""Stopped at any moment and resumed, a run ends as if it had never been stopped."""

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
def kept():
    """The run that nobody stopped, once there is one, and how long its training took."""
    return {}


@pytest.fixture
def unstopped(kept, new_run) -> tuple[Run, float]:
    if not kept:
        run = new_run(*SETTINGS)
        process = run.start()
        run.wait_for(lambda: is_training(run), process)
        begin = time.monotonic()
        assert process.wait(400) == 0, run.told()
        kept["found"] = run, time.monotonic() - begin
    return kept["found"]


def is_training(run: Run, times: int = 1) -> bool:
    return run.told().count("training from iteration") >= times


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


def assert_same_end(run: Run, wanted: Run) -> None:
    for name in ("model_final.pth", "model_best.pth"):
        assert same(state(run, name), state(wanted, name)), name
    assert len(wanted.metrics()) > 20
    assert same(run.metrics(), wanted.metrics())
    names = [sorted(p.name for p in each.folder.glob("*.pth")) for each in (run, wanted)]
    assert names[0] == names[1]
    assert not half_written(run)


def half_written(run: Run) -> list:
    return list(run.folder.glob(".model*"))


def test_killed_at_random_moments(new_run, unstopped):
    wanted, seconds = unstopped
    moments, kills = random.Random(0), 0
    while kills < RANDOM_KILLS:  # one run survives them all, if this machine is as fast as before
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
            assert process.returncode in (0, -signal.SIGKILL), run.told()
        assert_same_end(run, wanted)
    count_fault("SIGKILL at a random moment", kills)


def test_killed_while_a_checkpoint_is_written(new_run, unstopped):
    wanted, _ = unstopped
    run, found = new_run(*SETTINGS), 0
    for _ in range(KILLS_IN_A_CHECKPOINT):
        process = run.start("--resume")
        run.wait_for(lambda: bool(half_written(run)), process)
        run.kill(process)
        found += bool(half_written(run))
        count_fault("SIGKILL during a checkpoint")
    assert found, "every file was complete before the kill"
    run.finish("--resume")
    assert_same_end(run, wanted)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_asked_to_stop_a_checkpoint_is_written_first(new_run, unstopped, number):
    wanted, _ = unstopped
    run = new_run(*SETTINGS)
    process = run.start()
    run.wait_for(lambda: " iter: 29 " in run.told(), process)
    process.send_signal(number)
    assert process.wait(120) == 128 + number, run.told()
    assert "Traceback" not in run.told()
    last = (run.folder / "last_checkpoint").read_text()
    stopped = int(last.removeprefix("model_").removesuffix(".pth"))
    assert f"stopped after iteration {stopped}; --resume goes on" in run.told()
    run.finish("--resume")
    assert f"training from iteration {stopped + 1} to 90" in run.told()
    assert_same_end(run, wanted)
    count_fault(signal.Signals(number).name)


def test_a_finished_run_is_not_run_again(new_run, unstopped):
    run, _ = unstopped
    before = [state(run, "model_final.pth"), run.metrics()]
    run.finish("--resume")
    assert same([state(run, "model_final.pth"), run.metrics()], before)
    assert "training from iteration 90 to 90" in run.told()
