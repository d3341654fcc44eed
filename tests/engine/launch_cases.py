"""A small job of two processes that may go wrong on rank 1; run by test_launch.py."""

import os
import signal
import sys
import time

import torch
import torch.distributed as dist

from stageinteractor.engine.launch import launch
from stageinteractor.errors import ConfigError, DataError


def work(case):
    total = torch.ones(1)
    if case == "all":
        raise ConfigError("train.amp is 'x'")
    if case == "once":
        dist.all_reduce(total)
        print(f"rank {dist.get_rank()} of {int(total)}", flush=True)
        return
    if dist.get_rank() == 1:
        if case == "ours":  # rank 0 waits already
            raise DataError("photo.png:\n  cannot be read")
        dist.all_reduce(total)
        if case == "other":
            raise ValueError("boom")
        if case == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
    else:
        dist.all_reduce(total)
    while True:
        print("works", flush=True)
        dist.all_reduce(total)
        time.sleep(0.1)


if __name__ == "__main__":
    launch(work, (sys.argv[1],), num_processes=2)
