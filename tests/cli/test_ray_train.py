"""The command for Ray, as far as it goes without Ray."""

import sys

import pytest

from stageinteractor.cli import ray_train
from stageinteractor.engine import dist_env


def test_missing_package_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert ray_train.main(["--workers", "2", "--config-file", "x"]) == 2
    assert "a training under Ray needs ray: " in capsys.readouterr().err


def test_a_worker_resumes_in_the_folder_of_the_command(monkeypatch, tmp_path):
    monkeypatch.chdir("/")
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    envs, runs = [], []
    monkeypatch.setattr(dist_env, "init_process_group", envs.append)
    monkeypatch.setattr(ray_train, "run_training", runs.append)
    arguments = ["--resume", "--config-file", "x.yaml", "train.max_iter=3"]
    ray_train.work({"folder": str(tmp_path), "arguments": arguments})
    (env,), (args,) = envs, runs
    assert (env.rank, env.world_size, env.local_rank) == (1, 2, 1)
    assert args.resume and args.opts == ["train.max_iter=3"]
    assert ray_train.os.getcwd() == str(tmp_path)


@pytest.mark.parametrize("options", [["--eval-only"], ["--num-gpus", "2"]])
def test_options_of_another_launcher_are_refused(monkeypatch, capsys, options):
    monkeypatch.setattr(ray_train, "require", lambda *_: None)
    assert ray_train.main(["--config-file", "x", *options]) == 2
    assert "--workers" in capsys.readouterr().err
