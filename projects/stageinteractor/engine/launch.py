"""Start one process or many: by `--num-gpus`, by torchrun, on CPUs or GPUs."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from detectron2.engine import launch as _launch
from detectron2.utils import comm

from ..memory import prefer_huge_pages


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
    """
    prefer_huge_pages()
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        _join_torchrun()
        try:
            function(*args)
        finally:
            dist.destroy_process_group()
        return
    _launch(function, num_processes, num_machines, machine_rank, dist_url, args)


def _join_torchrun() -> None:
    local_rank = int(os.environ["LOCAL_RANK"])
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if has_gpu else "gloo", init_method="env://")
    comm.create_local_process_group(int(os.environ["LOCAL_WORLD_SIZE"]))
