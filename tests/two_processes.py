"""Scripts in two processes, with the variables that torchrun sets."""

import multiprocessing
import os
import runpy
import socket
import sys
import traceback
from pathlib import Path

TESTS = Path(__file__).parent
CONTEXT = multiprocessing.get_context("forkserver")  # packages are imported once for all scripts
CONTEXT.set_forkserver_preload(["stageinteractor.criterion", "stageinteractor.evaluation.coco"])


def run_in_two_processes(script: str, folder: Path) -> None:
    """Run a script in two processes with the import path of the tests; fail if one fails."""
    file = folder / "script.py"
    file.write_text(script)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    variables = os.environ | {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    ranks = [variables | {"RANK": rank, "LOCAL_RANK": rank} for rank in ("0", "1")]
    workers = [CONTEXT.Process(target=_run, args=(file, each)) for each in ranks]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
        worker.kill()
    errors = [path.read_text() for path in folder.glob("error_*.txt")]
    assert [worker.exitcode for worker in workers] == [0, 0], errors


def _run(file: Path, variables: dict[str, str]) -> None:
    os.environ.clear()  # those of the first test that used the server
    os.environ.update(variables)
    sys.path.insert(0, str(TESTS))
    try:
        runpy.run_path(str(file), run_name="__main__")
    except BaseException:
        file.with_name(f"error_{variables['RANK']}.txt").write_text(traceback.format_exc())
        raise
