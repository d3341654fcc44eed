"""Run the cases of the Triton kernels, each way in a process of its own, and test what needs none.

The cases are in `triton_sampling_cases.py` and `triton_compile_cases.py`.
"""

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from packaging.version import Version

from stageinteractor.modeling.sampling import triton as triton_sampling

HERE = Path(__file__).parent
INTERPRETED = dict(TRITON_INTERPRET="1", CUDA_VISIBLE_DEVICES="")


def why_not() -> str:
    """Say why the kernels cannot run; "" where they must: torch brings Triton along on Linux."""
    if not sys.platform.startswith("linux"):
        return "torch brings Triton along on Linux only"
    oldest, actual = triton_sampling.OLDEST_TRITON, version("triton")
    return f"needs Triton >= {oldest}, got {actual}" if Version(actual) < Version(oldest) else ""


needs_triton = pytest.mark.skipif(bool(why_not()), reason=why_not())


@pytest.fixture
def float32_products():
    """Once: the cases choose their products themselves."""


def run_cases(name: str, **environment: str) -> None:
    """Run a file of cases; fail with its output if not all of them pass or are skipped."""
    around = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / name)]
    done = subprocess.run(
        command, env=around | environment, cwd=HERE.parents[2], capture_output=True, text=True
    )
    passed = re.search(r"(\d+) passed", done.stdout)
    assert done.returncode == 0 and passed and int(passed[1]) > 5, done.stdout + done.stderr


@needs_triton
def test_interpreted_kernels_give_what_the_plain_sampling_gives():
    run_cases("triton_sampling_cases.py", **INTERPRETED)


@needs_triton
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_compiled_kernels_give_what_the_plain_sampling_gives():
    run_cases("triton_sampling_cases.py")


@needs_triton
def test_kernels_compile_without_a_gpu(tmp_path: Path):
    run_cases("triton_compile_cases.py", TRITON_CACHE_DIR=str(tmp_path))


def test_without_interpreter_the_kernels_are_not_for_cpus(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)  # read by Triton itself
    assert not triton_sampling.is_available(torch.zeros(1))


@pytest.mark.parametrize("version", [None, "3.4.0"])
def test_without_a_recent_triton_the_kernels_are_not_used(
    monkeypatch: pytest.MonkeyPatch, version: str | None
):
    stub = None if version is None else type("triton", (), {"__version__": version})
    monkeypatch.setitem(sys.modules, "triton", stub)  # None: importing it fails
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    triton_sampling._triton_is_usable.cache_clear()
    assert not triton_sampling.is_available(torch.zeros(1))
    triton_sampling._triton_is_usable.cache_clear()
