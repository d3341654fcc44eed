"""Rank and world size of a worker process, and its process group."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from detectron2.utils import comm

from ..errors import ConfigError

TIMEOUT = timedelta(minutes=30)  # of a collective: rank 0 evaluates while the others wait


@dataclass(frozen=True)
class DistEnv:
    """Rank and world size of a worker, and where its process group is set up.

    Args:
        rank: among the workers of all machines.
        world_size: number of workers on all machines.
        local_rank: among the workers of this machine.
        local_size: number of workers on this machine.
        url: init method of `torch.distributed`.
        port: of a TCPStore on this machine, in place of ``url``.
    """

    rank: int
    world_size: int
    local_rank: int
    local_size: int
    url: str = ""
    port: int = 0


def init_process_group(env: DistEnv) -> None:
    """Connect to the other workers; each uses the GPU of its local rank.

    Raises:
        ConfigError: there are fewer GPUs than workers on this machine.
    """
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        if env.local_rank >= torch.cuda.device_count():
            raise ConfigError(
                f"{env.local_size} processes on this machine, but torch finds "
                f"{torch.cuda.device_count()} GPUs"
            )
        torch.cuda.set_device(env.local_rank)
    address: dict[str, Any] = {"init_method": env.url}
    if env.port:
        address = {"store": dist.TCPStore("127.0.0.1", env.port, timeout=TIMEOUT)}
    dist.init_process_group(
        "nccl" if has_gpu else "gloo",
        rank=env.rank,
        world_size=env.world_size,
        timeout=TIMEOUT,
        **address,
    )
    comm.create_local_process_group(env.local_size)
    comm.synchronize()
