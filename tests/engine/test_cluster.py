import pickle

import pytest

from stageinteractor.engine.cluster import ClusterJob

pytest.importorskip("submitit", reason="submitit is not installed")


class Job:
    num_tasks, num_nodes, global_rank, local_rank = 4, 2, 3, 1
    hostnames = ("first", "second")


def test_a_task_finds_the_others_and_runs_the_script(monkeypatch, tmp_path):
    import submitit

    script = tmp_path / "script.py"
    script.write_text(
        "import json, os, sys, pathlib\n"
        "names = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR',"
        " 'MASTER_PORT')\n"
        "pathlib.Path(sys.argv[1]).write_text(json.dumps([os.environ[name] for name in names]))\n"
    )
    monkeypatch.setattr(submitit, "JobEnvironment", Job)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "to be restored")
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "to be restored")
    monkeypatch.setattr("sys.argv", [])
    monkeypatch.setattr("sys.path", ["somewhere"])
    job = pickle.loads(pickle.dumps(ClusterJob(str(script), [str(tmp_path / "told")], 4000)))
    job()
    assert (tmp_path / "told").read_text() == '["3", "1", "4", "2", "first", "4000"]'


def test_a_job_that_is_queued_again_resumes():
    first = ClusterJob("train_net.py", ["--config-file", "x.py", "train.max_iter=3"], 4000)
    again = first.checkpoint().function
    assert again.arguments == ["--resume", "--config-file", "x.py", "train.max_iter=3"]
    assert again.port == 4000
    assert again.checkpoint().function.arguments == again.arguments
