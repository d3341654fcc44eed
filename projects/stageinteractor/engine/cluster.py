"""One process of a cluster job: find the others, then do what tools/train_net.py does."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from typing import Any


class ClusterJob:
    """What submitit runs in every task of a job; it can be pickled.

    Args:
        script: path of tools/train_net.py.
        arguments: its command line.
        port: on the first host, for the processes to meet.
    """

    def __init__(self, script: str, arguments: list[str], port: int = 29500) -> None:
        self.script = script
        self.arguments = arguments
        self.port = port

    def __call__(self) -> None:
        """Become one process of the training; the way to the others is torchrun's variables."""
        from submitit import JobEnvironment

        job = JobEnvironment()
        per_node = job.num_tasks // job.num_nodes
        os.environ.update(
            RANK=str(job.global_rank),
            LOCAL_RANK=str(job.local_rank),
            WORLD_SIZE=str(job.num_tasks),
            LOCAL_WORLD_SIZE=str(per_node),
            MASTER_ADDR=job.hostnames[0],
            MASTER_PORT=str(self.port),
        )
        sys.argv = [self.script, *self.arguments]
        sys.path.insert(0, str(Path(self.script).parent))
        runpy.run_path(self.script, run_name="__main__")

    def checkpoint(self) -> Any:
        """Go on from the last checkpoint when the job is pre-empted or its time is over."""
        from submitit.helpers import DelayedSubmission

        arguments = [argument for argument in self.arguments if argument != "--resume"]
        return DelayedSubmission(ClusterJob(self.script, ["--resume", *arguments], self.port))
