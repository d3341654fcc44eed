"""Several processes: how they start, and what is printed when one fails."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from tally import count_fault

from stageinteractor.engine import dist_env
from stageinteractor.engine.dist_env import DistEnv
from stageinteractor.engine.launch import launch
from stageinteractor.errors import DataError

SCRIPT = str(Path(__file__).with_name("launch_cases.py"))
TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node", "2"]


def start(case, *launcher):
    return subprocess.Popen(
        [sys.executable, *launcher, SCRIPT, case],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        start_new_session=True,
    )


def test_single_process_runs_in_place(monkeypatch, capsys):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    seen = []
    launch(seen.append, (3,))
    assert seen == [3]

    def refuse():
        raise DataError("photo.png:\n cannot be read")

    with pytest.raises(SystemExit) as stop:
        launch(refuse, ())
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: photo.png: cannot be read\n"
    with pytest.raises(ZeroDivisionError):
        launch(lambda: 1 / 0, ())


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"num_processes": 0}, "--num-gpus 0"),
        ({"num_machines": 2}, "--dist-url tcp://HOST:PORT"),
        ({"num_machines": 2, "machine_rank": 2, "dist_url": "tcp://x:1"}, "--machine-rank 2"),
        ({"num_processes": 3}, "--num-gpus 3: torch finds 1 GPUs"),
    ],
)
def test_invalid_numbers_of_processes_are_refused(monkeypatch, capsys, numbers, message):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(SystemExit) as stop:
        launch(print, (), **numbers)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "code", "message"),
    [
        ("all", 2, "error: train.amp is 'x'\n"),
        ("ours", 2, "error: rank 1 of 2: photo.png: cannot be read\n"),
        (
            "killed",
            1,
            "error: rank 1 of 2: ended by SIGKILL; the system may have run out of memory\n",
        ),
    ],
)
def test_root_cause_is_one_line(case, code, message):
    process = start(case)
    _, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (code, message)
    count_fault("failed rank")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [[], TORCHRUN], ids=["num-gpus", "torchrun"])
def test_traceback_is_printed_once(launcher):
    process = start("other", *launcher)
    _, error = process.communicate(timeout=120)
    lines = [line.strip() for line in error.splitlines()]
    assert process.returncode == 1
    assert lines.count("ValueError: boom") == 1
    assert lines[lines.index("ValueError: boom") + 1] == "error: rank 1 of 2 failed, see above"
    assert "Connection" not in error  # what rank 0 has met with
    count_fault("failed rank")


@pytest.mark.slow
def test_sigterm_stops_all_processes():
    process = start("well")
    assert "works" in process.stdout.readline()  # of both, who may write at the same time
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (143, "")


TORCHRUN_VARIABLES = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
RAY = TORCHRUN_VARIABLES | {"NODE_RANK": "1"}  # Ray Train's torch backend
KUBEFLOW = {"RANK": "3", "WORLD_SIZE": "4"}  # PyTorchJob with one process a pod


@pytest.mark.parametrize(
    ("environment", "local"), [(TORCHRUN_VARIABLES, (1, 2)), (RAY, (1, 2)), (KUBEFLOW, (0, 1))]
)
def test_variables_of_cluster_launchers_suffice(monkeypatch, environment, local):
    for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (environment | {"MASTER_ADDR": "first", "MASTER_PORT": "29500"}).items():
        monkeypatch.setenv(name, value)
    envs, calls = [], []
    monkeypatch.setattr("stageinteractor.engine.launch.init_process_group", envs.append)
    monkeypatch.setattr("torch.distributed.destroy_process_group", lambda: calls.append("end"))
    launch(calls.append, ("trained",))
    assert calls == ["trained", "end"]
    assert envs == [DistEnv(3, 4, *local, url="env://")]


@pytest.mark.parametrize(("of_agent", "is_new"), [("True", True), ("False", False)])
def test_each_start_has_its_own_keys_in_the_store_of_an_agent(monkeypatch, of_agent, is_new):
    """A new store is shared as it is: machines count their restarts by themselves."""
    shared = dist.HashStore()
    monkeypatch.setattr(dist_env, "rendezvous", lambda *_, **__: iter([(shared, 0, 2)]))
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", of_agent)
    env = DistEnv(rank=0, world_size=2, local_rank=0, local_size=1, url="env://")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    dist_env._store(env).set("address", "a")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert dist_env._store(env).check(["address"]) != is_new


def pods(port):
    """Variables of two pods of Kubeflow's PyTorchJob, with one process each."""
    for rank in ("0", "1"):
        yield {
            "RANK": rank,
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "PET_NODE_RANK": rank,
            "PET_NNODES": "2",
            "PET_NPROC_PER_NODE": "1",
            "PET_MASTER_ADDR": "127.0.0.1",
            "PET_MASTER_PORT": port,
        }


def elastic_nodes(port):
    """Variables of two nodes of Kubeflow's Trainer, where torchrun gets no options."""
    for variables in pods(port):
        yield {name: value for name, value in variables.items() if name.startswith("PET_")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "launcher"),
    [(pods, []), (elastic_nodes, ["-m", "torch.distributed.run"])],
    ids=["by hand", "torchrun without options"],
)
def test_two_processes_find_each_other_by_variables_alone(monkeypatch, variables, launcher):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    processes = []
    for each in variables(port):
        with monkeypatch.context() as patch:
            for name, value in each.items():
                patch.setenv(name, value)
            processes.append(start("once", *launcher))
    ends = [process.communicate(timeout=120) for process in processes]
    assert [output for output, _ in ends] == ["rank 0 of 2\n", "rank 1 of 2\n"], ends
    assert [process.returncode for process in processes] == [0, 0]
