"""Run a function in one process or many: started here (`--num-gpus`) or by torchrun.

If a worker fails, the others are terminated and its error is printed last. SIGTERM and Ctrl-C reach
every worker, which may then write a checkpoint.

torch's elastic launcher is not used: it kills the workers 30 seconds after SIGTERM, before a slow
checkpoint is written, always exits with code 1, and prints the error twice within 56 lines.
"""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import torch
import torch.distributed as dist
import torch.multiprocessing

from ..command_line import discard_unread_output
from ..errors import ConfigError, StageInteractorError, one_line
from ..machine.memory import keep_freed_memory, prefer_huge_pages
from .dist_env import DistEnv, init_process_group
from .failure import Failure, failure_message
from .process_monitor import monitor_processes

PATIENCE = 5.0  # seconds that a worker waits, so that the failure it follows from is reported first


def launch(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    *,
    num_processes: int = 1,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
) -> None:
    """Call ``function(*args)`` in every worker.

    Under torchrun, which sets RANK and WORLD_SIZE, the workers exist already. Otherwise
    ``num_processes`` workers are started on this machine, or none if one process is enough.

    Args:
        function: importable, as the workers are spawned.
        num_processes: workers on this machine.
        num_machines: machines, each with ``num_processes`` workers.
        dist_url: tcp://HOST:PORT of the first machine; "auto" on a single machine.

    Raises:
        SystemExit: a worker has failed, and its error is printed on standard error: code 2 for a
            `StageInteractorError`, else 1; or a signal stopped the job: code 128 + its number.
    """
    prefer_huge_pages()
    keep_freed_memory()
    try:
        if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
            _run_under_torchrun(function, args)
        elif num_processes * num_machines == 1:
            function(*args)
        else:
            _check_machines(num_processes, num_machines, machine_rank, dist_url)
            code = _start(function, args, num_processes, num_machines, machine_rank, dist_url)
            if code:
                sys.exit(code)
    except StageInteractorError as error:
        _end_readers()
        print(f"error: {one_line(error)}", file=sys.stderr, flush=True)
        sys.exit(2)
    except BaseException:
        _end_readers()
        raise


def _check_machines(num_processes: int, num_machines: int, machine_rank: int, url: str) -> None:
    if num_processes < 1 or num_machines < 1:
        raise ConfigError(
            f"--num-gpus {num_processes} --num-machines {num_machines}: both must be at least 1"
        )
    if num_machines > 1 and url == "auto":
        raise ConfigError("--num-machines: several machines need --dist-url tcp://HOST:PORT")
    if not 0 <= machine_rank < num_machines:
        raise ConfigError(
            f"--machine-rank {machine_rank}: must be 0 to {num_machines - 1}, for --num-machines "
            f"{num_machines}"
        )
    if torch.cuda.is_available() and num_processes > torch.cuda.device_count():
        raise ConfigError(
            f"--num-gpus {num_processes}: torch finds {torch.cuda.device_count()} GPUs; with "
            "CUDA_VISIBLE_DEVICES='' set, the processes run on CPUs"
        )


def _start(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    num_processes: int,
    num_machines: int,
    machine_rank: int,
    dist_url: str,
) -> int:
    """Start the workers of this machine, wait for them and return the exit code."""
    # killed workers leave semaphores behind; Python would warn about them after the root cause
    muted = "ignore:resource_tracker:UserWarning"
    os.environ["PYTHONWARNINGS"] = ",".join([*filter(None, [os.getenv("PYTHONWARNINGS")]), muted])
    store = None
    if dist_url == "auto":  # the store lives in this process, at a free port that it chooses
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    envs = [
        DistEnv(
            machine_rank * num_processes + local_rank,
            num_machines * num_processes,
            local_rank,
            num_processes,
            "" if store else dist_url,
            store.port if store else 0,
        )
        for local_rank in range(num_processes)
    ]
    pipes = [multiprocessing.Pipe(duplex=False) for _ in envs]
    reports = [reader for reader, _ in pipes]
    writers = [writer for _, writer in pipes]

    def start() -> list[Any]:
        context = torch.multiprocessing.start_processes(
            _work, (envs, writers, function, args), num_processes, join=False
        )
        return context.processes

    return monitor_processes(start, reports, [env.rank for env in envs], envs[0].world_size)


def _work(
    local_rank: int,
    envs: list[DistEnv],
    reports: list[Connection],
    function: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
    """Run the function in a worker that was started here."""
    os.setpgid(0, 0)  # Ctrl-C reaches the launcher, which passes it on once
    logging.raiseExceptions = False  # as in `command`: standard output may be closed by its reader
    env = envs[local_rank]
    try:
        init_process_group(env)
        function(*args)
        dist.destroy_process_group()
        discard_unread_output()
    except KeyboardInterrupt:
        _end(130)
    except BaseException as error:
        failure = Failure.of(error, env.rank)
        if failure is None:
            _end_readers()
            raise
        reports[local_rank].send(failure)
        _end(failure.code)


def _run_under_torchrun(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Run the function in a worker that torchrun or a cluster has started.

    torchrun reads the failures of its workers from files, and prints the first one.
    """
    env = DistEnv.from_environment()
    try:
        init_process_group(env)
        function(*args)
        dist.destroy_process_group()
    except BaseException as error:
        failure = Failure.of(error, env.rank)
        if failure is None:
            raise
        if failure.is_consequence:
            time.sleep(PATIENCE)
        file = os.environ.get("TORCHELASTIC_ERROR_FILE")
        if file is None:
            raise
        with open(file, "w", encoding="utf-8") as stream:
            json.dump(_torchrun_report(failure, env), stream)
        _end(failure.code)


def _torchrun_report(failure: Failure, env: DistEnv) -> dict[str, Any]:
    message = failure_message([failure], env.world_size)
    details = {"py_callstack": message, "timestamp": str(int(failure.time))}
    return {"message": {"message": message, "extraInfo": details}}


def _end_readers() -> None:
    """Kill the data-loading processes; at exit Python would wait for them to end by themselves."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler raises when one ends
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def _end(code: int) -> NoReturn:
    """End this process at once; an ordinary exit may wait for workers that are gone."""
    _end_readers()
    with contextlib.suppress(OSError):  # the terminal is gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
