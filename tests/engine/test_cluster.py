import pickle
import sys
from types import SimpleNamespace

import pytest
import submitit.helpers

from stageinteractor.engine.cluster import ClusterJob


class Job:
    num_tasks, num_nodes, global_rank, local_rank = 4, 2, 3, 1
    hostnames = ("first", "second")


def test_task_sets_the_environment_and_runs_the_script(monkeypatch, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import json, os, sys, pathlib\n"
        "names = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR',"
        " 'MASTER_PORT', 'CUDA_VISIBLE_DEVICES')\n"
        "pathlib.Path(sys.argv[1]).write_text(json.dumps([os.environ[name] for name in names]))\n"
    )
    monkeypatch.setattr(submitit.helpers, "JobEnvironment", Job)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.setenv(name, "to be restored")
    monkeypatch.setenv("MASTER_PORT", "4000")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr("sys.argv", [])
    monkeypatch.setattr("sys.path", ["somewhere"])
    job = pickle.loads(pickle.dumps(ClusterJob(str(script), [str(tmp_path / "environment")])))
    job()
    assert (tmp_path / "environment").read_text() == '["3", "1", "4", "2", "first", "4000", "0,1"]'


def test_job_requeued_by_submitit_resumes():
    first = ClusterJob("train_net.py", ["--config-file", "x.py", "train.max_iter=3"])
    again = first.checkpoint().function
    assert again.arguments == ["--resume", "--config-file", "x.py", "train.max_iter=3"]
    assert again.checkpoint().function.arguments == again.arguments


@pytest.mark.parametrize("count", [None, "0", "1"])
@pytest.mark.parametrize("arguments", [["x=1"], ["--resume", "x=1"]])
def test_job_requeued_by_slurm_resumes(monkeypatch, tmp_path, count, arguments):
    script = tmp_path / "script.py"
    script.write_text("import sys; sys.passed = sys.argv[1:]")
    environment = SimpleNamespace(export=lambda **_: None)
    monkeypatch.setattr(submitit.helpers, "TorchDistributedEnvironment", lambda: environment)
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    if count is not None:
        monkeypatch.setenv("SLURM_RESTART_COUNT", count)
    for name in ("argv", "path", "environment"):
        monkeypatch.setattr(sys, name, [], raising=False)
    ClusterJob(str(script), arguments)()
    assert sys.passed == (["--resume", "x=1"] if count == "1" else arguments)
