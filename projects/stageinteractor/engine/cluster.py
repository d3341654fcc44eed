"""One task of a SLURM job: set up the environment of torchrun, then run tools/train_net.py."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from typing import Any


class ClusterJob:
    """The callable that submitit runs in every task of a job; it can be pickled.

    Args:
        script: path of tools/train_net.py.
        arguments: its command line.
    """

    def __init__(self, script: str, arguments: list[str]) -> None:
        self.script = script
        self.arguments = arguments

    def __call__(self) -> None:
        """Run one process of the training, with the environment variables of torchrun."""
        from submitit.helpers import TorchDistributedEnvironment

        # every task sees all GPUs of its node, and uses that of its local rank
        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        requeued = int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0  # by SLURM itself
        sys.argv = [self.script, *(self._resuming() if requeued else self.arguments)]
        sys.path.insert(0, str(Path(self.script).parent))
        runpy.run_path(self.script, run_name="__main__")

    def checkpoint(self) -> Any:
        """Return the job that resumes after a pre-emption or the time limit; called by submitit."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(ClusterJob(self.script, self._resuming()))

    def _resuming(self) -> list[str]:
        return ["--resume", *(argument for argument in self.arguments if argument != "--resume")]
