"""Runs of stageinteractor train as processes that can be killed."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from e2e.conftest import CONFIG, ROOT, shapes_set, small_run  # noqa: F401

TIMES = ("time", "seconds")  # in the names of metrics that differ from run to run


class Run:
    """A training in a folder, which can be started several times.

    Args:
        folder: for the output.
        overrides: key=value of everything else.
    """

    def __init__(self, folder: Path, overrides: list[str]) -> None:
        self.folder = folder
        self.overrides = [o for o in overrides if not o.startswith("train.output_dir=")]
        self.log = folder.with_suffix(".txt")

    def start(self, *options: str, before: tuple[str, ...] = ()) -> subprocess.Popen:
        """Start stageinteractor train in its own process group, with a command ``before`` it."""
        script = [sys.executable, str(ROOT / "tools/train_net.py"), "--config-file", CONFIG]
        with self.log.open("a") as log:
            return subprocess.Popen(
                [*before, *script, *options, *self.overrides, f"train.output_dir={self.folder}"],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )

    def finish(self, *options: str, timeout: float = 400.0) -> None:
        """Run to the end."""
        assert self.start(*options).wait(timeout) == 0, self.output()

    def wait_for(self, ready: Callable[[], bool], process: subprocess.Popen) -> None:
        """Wait until a condition holds, or the process has ended."""
        deadline = time.monotonic() + 300
        while not ready() and process.poll() is None:
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.001)

    def kill(self, process: subprocess.Popen) -> None:
        """SIGKILL the process and all that it has started."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def output(self) -> str:
        """The output of all starts."""
        return self.log.read_text()

    def final(self) -> dict:
        """The content of the final checkpoint."""
        return torch.load(self.folder / "model_final.pth", weights_only=True)

    def metrics(self) -> list[dict]:
        """The lines of metrics.json, without times, in the order of iterations."""
        lines = (self.folder / "metrics.json").read_text().splitlines()
        entries = [
            {k: v for k, v in json.loads(line).items() if not any(t in k for t in TIMES)}
            for line in lines
        ]
        entries = [line for line in entries if len(line) > 1]  # more than the iteration
        return sorted(entries, key=lambda line: line["iteration"])


@pytest.fixture
def new_run(small_run, tmp_path):  # noqa: F811
    """Make a `Run` in a folder of its own."""
    numbers = itertools.count()

    def make(*overrides: str) -> Run:
        return Run(tmp_path / f"run_{next(numbers)}", [*small_run, *overrides])

    return make


def same(first, second) -> bool:
    """Whether two nests of dicts and lists hold equal tensors and values."""
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second or (first != first and second != second)
