"""Rank and world size of a worker process, and its process group."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch.distributed.rendezvous import rendezvous

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

    @classmethod
    def from_environment(cls) -> DistEnv:
        """Return what torchrun, Ray Train or an operator of Kubernetes has put into variables.

        An operator that starts one process per pod or node may set no local rank.
        """
        return cls(
            rank=int(os.environ["RANK"]),
            world_size=int(os.environ["WORLD_SIZE"]),
            local_rank=int(os.environ.get("LOCAL_RANK", 0)),
            local_size=int(os.environ.get("LOCAL_WORLD_SIZE", 1)),
            url="env://",
        )


def init_process_group(env: DistEnv) -> None:
    """Connect to the other workers, unless the launcher has done so (Ray Train).

    Each worker uses the GPU of its local rank.

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
    if not dist.is_initialized():
        dist.init_process_group(
            "nccl" if has_gpu else "gloo",
            rank=env.rank,
            world_size=env.world_size,
            timeout=TIMEOUT,
            store=_store(env),
        )
    comm.create_local_process_group(env.local_size)
    comm.synchronize()


def _store(env: DistEnv) -> dist.Store:
    """Return the store by which the workers find each other.

    The store of torchrun's agent outlives workers that it restarts, with the addresses of those
    that are gone, so that each start has keys of its own.
    """
    if env.port:
        return dist.TCPStore("127.0.0.1", env.port, timeout=TIMEOUT)
    store, _, _ = next(rendezvous(env.url, env.rank, env.world_size, timeout=TIMEOUT))
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != str(True):
        return store  # a new one
    return dist.PrefixStore(f"start_{os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
