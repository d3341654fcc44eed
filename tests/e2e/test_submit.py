"""stageinteractor submit, as far as a machine without a cluster goes: submitit's local executor."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools/submit.py"


@pytest.mark.slow
def test_two_tasks_train_together(small_run, e2e_config, tmp_path):
    command = [sys.executable, str(TOOL), "--cluster", "local", "--wait", "--gpus-per-node", "0"]
    command += ["--tasks-per-node", "2", "--cpus-per-task", "1"]
    command += ["--logs", str(tmp_path / "jobs"), "--config-file", e2e_config]
    done = subprocess.run(
        [*command, *small_run, "train.max_iter=1", "train.eval_period=0"],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=500,
    )
    logs = "\n".join(path.read_text() for path in (tmp_path / "jobs").glob("*/*.err"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    assert "has ended" in done.stdout
    assert (tmp_path / "run/model_final.pth").is_file()
    assert "rank1" in {path.name.rpartition(".")[2] for path in (tmp_path / "run").glob("log.txt*")}
