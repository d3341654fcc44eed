"""One task of a SLURM job: set up the environment of torchrun, then train."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any


class ClusterJob:
    """The callable that submitit runs in every task of a job; it can be pickled.

    Args:
        main: of the training command; takes its arguments, returns an exit code.
    """

    def __init__(self, main: Callable[[list[str]], int], arguments: list[str]) -> None:
        self.main = main
        self.arguments = arguments

    def __call__(self) -> None:
        """Run one process of the training, with the environment variables of torchrun."""
        from submitit.helpers import TorchDistributedEnvironment

        # every task sees all GPUs of its node, and uses that of its local rank
        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        requeued = int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0  # by SLURM itself
        code = self.main(self._resuming() if requeued else self.arguments)
        if code:
            sys.exit(code)

    def checkpoint(self) -> Any:
        """Return the job that resumes after a pre-emption or the time limit; called by submitit."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(ClusterJob(self.main, self._resuming()))

    def _resuming(self) -> list[str]:
        return ["--resume", *(argument for argument in self.arguments if argument != "--resume")]
