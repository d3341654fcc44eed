import json
import os
from pathlib import Path
from types import SimpleNamespace

import cloudpickle
import pytest
import submitit.helpers

from stageinteractor.engine.cluster import ClusterJob


class Job:
    num_tasks, num_nodes, global_rank, local_rank = 4, 2, 3, 1
    hostnames = ("first", "second")


NAMES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def write_environment(arguments: list[str]) -> int:
    values = [os.environ[name] for name in (*NAMES, "CUDA_VISIBLE_DEVICES")]
    Path(arguments[0]).write_text(json.dumps(values))
    return 0


def test_task_sets_the_environment_and_trains(monkeypatch, tmp_path):
    monkeypatch.setattr(submitit.helpers, "JobEnvironment", Job)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.setenv(name, "to be restored")
    monkeypatch.setenv("MASTER_PORT", "4000")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    job = cloudpickle.loads(
        cloudpickle.dumps(ClusterJob(write_environment, [str(tmp_path / "environment")]))
    )
    job()
    assert (tmp_path / "environment").read_text() == '["3", "1", "4", "2", "first", "4000", "0,1"]'


def test_job_requeued_by_submitit_resumes():
    first = ClusterJob(write_environment, ["--config-file", "x.py", "train.max_iter=3"])
    again = first.checkpoint().function
    assert again.arguments == ["--resume", "--config-file", "x.py", "train.max_iter=3"]
    assert again.checkpoint().function.arguments == again.arguments


@pytest.mark.parametrize("count", [None, "0", "1"])
@pytest.mark.parametrize("arguments", [["x=1"], ["--resume", "x=1"]])
def test_job_requeued_by_slurm_resumes(monkeypatch, count, arguments):
    passed: list[str] = []
    environment = SimpleNamespace(export=lambda **_: None)
    monkeypatch.setattr(submitit.helpers, "TorchDistributedEnvironment", lambda: environment)
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    if count is not None:
        monkeypatch.setenv("SLURM_RESTART_COUNT", count)
    ClusterJob(lambda given: passed.extend(given) or 0, arguments)()
    assert passed == (["--resume", "x=1"] if count == "1" else arguments)


def test_a_failed_training_ends_the_task_with_its_code(monkeypatch):
    environment = SimpleNamespace(export=lambda **_: None)
    monkeypatch.setattr(submitit.helpers, "TorchDistributedEnvironment", lambda: environment)
    with pytest.raises(SystemExit) as stop:
        ClusterJob(lambda _: 2, ["x=1"])()
    assert stop.value.code == 2
