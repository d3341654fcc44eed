"""Scripts in two processes, started by torchrun."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent


def run_in_two_processes(script: str, folder: Path) -> None:
    """Run a script in two processes with the import path of the tests; fail if one fails."""
    file = folder / "script.py"
    file.write_text(script)
    paths = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(file)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
