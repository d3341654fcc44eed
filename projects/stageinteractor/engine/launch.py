"""Start one process or many: by `--num-gpus`, by torchrun, on CPUs or GPUs.

When one process fails, all end, and what it told comes last. A SIGTERM or Ctrl-C reaches every
process, which may then write a checkpoint.
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
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import torch
import torch.distributed as dist
import torch.multiprocessing
from detectron2.utils import comm

from ..command_line import discard_unread_output
from ..errors import ConfigError, StageInteractorError, one_line
from ..memory import prefer_huge_pages
from .failure import Failure, tell
from .supervision import supervise

TIMEOUT = timedelta(minutes=30)  # of a collective: rank 0 evaluates while the others wait
PATIENCE = 5.0  # seconds that a process which has lost another one leaves to that one's message


@dataclass(frozen=True)
class Place:
    """Where a process stands among all; ``url`` or ``port`` is the way to the others."""

    rank: int
    world_size: int
    local_rank: int
    local_size: int
    url: str = ""
    port: int = 0


def launch(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    *,
    num_processes: int = 1,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
) -> None:
    """Call ``function(*args)`` in every process.

    Under torchrun (which sets RANK and WORLD_SIZE) the processes exist already; otherwise
    ``num_processes`` are started on this machine when more than one is asked for.

    Raises:
        SystemExit: it has failed, and standard error tells why: code 2 for our own errors, else 1;
            or it was stopped by a signal: code 128 + its number.
    """
    prefer_huge_pages()
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
            f"--machine-rank {machine_rank}: of {num_machines} machines, the last has the rank "
            f"{num_machines - 1}"
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
    """Start the processes of this machine, wait for them and return the exit code."""
    # a process that is ended at once leaves semaphores, of which Python would tell after the cause
    muted = "ignore:resource_tracker:UserWarning"
    os.environ["PYTHONWARNINGS"] = ",".join([*filter(None, [os.getenv("PYTHONWARNINGS")]), muted])
    store = None
    if dist_url == "auto":  # the store lives here, at a port that is certainly free
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    places = [
        Place(
            machine_rank * num_processes + local_rank,
            num_machines * num_processes,
            local_rank,
            num_processes,
            "" if store else dist_url,
            store.port if store else 0,
        )
        for local_rank in range(num_processes)
    ]
    pipes = [multiprocessing.Pipe(duplex=False) for _ in places]
    reports = [reader for reader, _ in pipes]
    writers = [writer for _, writer in pipes]

    def start() -> list[Any]:
        context = torch.multiprocessing.start_processes(
            _work, (places, writers, function, args), num_processes, join=False
        )
        return context.processes

    return supervise(start, reports, [place.rank for place in places], places[0].world_size)


def _work(
    local_rank: int,
    places: list[Place],
    reports: list[Connection],
    function: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
    """Be one of the processes that were started here."""
    os.setpgid(0, 0)  # Ctrl-C reaches the process that started this one, which passes it on once
    logging.raiseExceptions = False  # as in `command`: the reader of the output may go
    place = places[local_rank]
    try:
        _join(place)
        function(*args)
        dist.destroy_process_group()
        discard_unread_output()
    except KeyboardInterrupt:
        _end(130)
    except BaseException as error:
        failure = Failure.of(error, place.rank)
        if failure is None:
            _end_readers()
            raise
        reports[local_rank].send(failure)
        _end(failure.code)


def _join(place: Place) -> None:
    """Find the other processes."""
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        if place.local_rank >= torch.cuda.device_count():
            raise ConfigError(
                f"{place.local_size} processes on this machine, but torch finds "
                f"{torch.cuda.device_count()} GPUs"
            )
        torch.cuda.set_device(place.local_rank)
    there: dict[str, Any] = {"init_method": place.url}
    if place.port:
        there = {"store": dist.TCPStore("127.0.0.1", place.port, timeout=TIMEOUT)}
    dist.init_process_group(
        "nccl" if has_gpu else "gloo",
        rank=place.rank,
        world_size=place.world_size,
        timeout=TIMEOUT,
        **there,
    )
    comm.create_local_process_group(place.local_size)
    comm.synchronize()


def _run_under_torchrun(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Be one of the processes that torchrun or a cluster has started.

    torchrun prints the first failure that it finds in files which it asks its processes for.
    """
    rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    world_size, local_size = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
    place = Place(rank, world_size, local_rank, local_size, "env://")
    try:
        _join(place)
        function(*args)
        dist.destroy_process_group()
    except BaseException as error:
        failure = Failure.of(error, place.rank)
        if failure is None:
            raise
        if failure.follows:
            time.sleep(PATIENCE)
        file = os.environ.get("TORCHELASTIC_ERROR_FILE")
        if file is None:
            raise
        with open(file, "w", encoding="utf-8") as stream:
            json.dump(_for_torchrun(failure, place), stream)
        _end(failure.code)


def _for_torchrun(failure: Failure, place: Place) -> dict[str, Any]:
    message = tell([failure], place.world_size)
    details = {"py_callstack": message, "timestamp": str(int(failure.time))}
    return {"message": {"message": message, "extraInfo": details}}


def _end_readers() -> None:
    """End processes that read images: they live on for a while when asked to end.

    At exit Python would ask them, and wait.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's raises when one has ended
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def _end(code: int) -> NoReturn:
    """End this process at once: the ordinary way may wait for others, which are gone."""
    _end_readers()
    with contextlib.suppress(OSError):  # of a terminal that is gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
