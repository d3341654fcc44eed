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
    """

    def __init__(self, script: str, arguments: list[str]) -> None:
        self.script = script
        self.arguments = arguments

    def __call__(self) -> None:
        """Become one process of the training; the way to the others is torchrun's variables."""
        from submitit.helpers import TorchDistributedEnvironment

        # every task sees all GPUs of its node and takes that of its local rank
        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        again = int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0  # by SLURM itself
        sys.argv = [self.script, *(self._resuming() if again else self.arguments)]
        sys.path.insert(0, str(Path(self.script).parent))
        runpy.run_path(self.script, run_name="__main__")

    def checkpoint(self) -> Any:
        """Go on from the last checkpoint when the job is pre-empted or its time is over."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(ClusterJob(self.script, self._resuming()))

    def _resuming(self) -> list[str]:
        return ["--resume", *(argument for argument in self.arguments if argument != "--resume")]
