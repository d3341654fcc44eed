"""A worker is killed and replaced: the run goes on from its checkpoint, to the same weights."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from e2e.conftest import CONFIG
from faults.conftest import same
from tally import count_fault

SETTINGS = [
    "model.decoder.num_stages=2",
    "train.max_iter=6",
    "train.checkpointer.period=2",
    "train.eval_period=0",
    "dataloader.train.num_workers=0",
    "dataloader.train.mapper._target_=killed_once.Mapper",
]
TRAIN = ["-m", "stageinteractor", "train"]
TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "1"]
LAUNCHERS = {
    "torchrun": [*TORCHRUN, *TRAIN, "--resume"],
    "ray": ["-m", "stageinteractor", "ray-train", "--workers", "2", "--gpus-per-worker", "0"],
}


@pytest.fixture(scope="module")
def whole_run():
    """Holds the weights of an uninterrupted run, once it has run."""
    return []


@pytest.fixture
def run(small_run, tmp_path):
    """Train in two processes; returns the folder of the run and the output."""

    def start(name, arguments, killed):
        folder, log = tmp_path / name, tmp_path / f"{name}.txt"
        paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        env = os.environ | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(paths),
            "KILLED": str(killed),
        }
        command = [sys.executable, *arguments, "--config-file", CONFIG, *small_run, *SETTINGS]
        with log.open("w") as file:
            done = subprocess.run(
                [*command, f"train.output_dir={folder}"],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=tmp_path,
                timeout=500,
            )
        assert done.returncode == 0, log.read_text()
        return folder, log.read_text()

    return start


def weights(folder):
    return torch.load(folder / "model_final.pth", weights_only=True)["model"]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_run_goes_on_from_its_checkpoint(run, whole_run, launcher, tmp_path):
    mark = tmp_path / "killed"
    folder, output = run("killed_run", LAUNCHERS[launcher], mark)
    assert mark.exists()
    logs = "".join(path.read_text() for path in folder.glob("log.txt*"))
    # rank 0 gets a SIGTERM from torchrun, and may save an iteration more
    assert "resumed from" in logs and re.search("training from iteration [23] to 6", logs), output
    if not whole_run:  # the mark exists: nothing is killed
        whole_run.append(weights(run("whole_run", [*TORCHRUN, *TRAIN], mark)[0]))
    assert same(weights(folder), whole_run[0])
    count_fault("killed and replaced worker")
