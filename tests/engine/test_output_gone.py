"""A training whose standard output is closed continues without a traceback."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import logging, sys
from pathlib import Path
from stageinteractor.command_line import command
from stageinteractor.engine.launch import launch

def work(folder):
    logger = logging.getLogger("stageinteractor")
    logger.addHandler(logging.StreamHandler(sys.stdout))
    logger.setLevel(logging.INFO)
    for line in range(1000):
        logger.info("a log line of some length, number %d", line)
    Path(folder, "finished").touch()

@command
def main():
    launch(work, (sys.argv[1],), num_processes=int(sys.argv[2]))
    return 0

if __name__ == "__main__":
    sys.exit(main())
"""


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_run_continues_when_stdout_is_closed(tmp_path, processes):
    (tmp_path / "run.py").write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(tmp_path / "run.py"), str(tmp_path), str(processes)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONUNBUFFERED": ""},
    )
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() in (0, 141)  # nothing is left to be printed, or something
    process.stderr.close()
    assert (tmp_path / "finished").is_file()
