"""Huge pages are asked for by our tools, in time, and not against the user's wish."""

import ctypes
import os
import subprocess
import sys
import textwrap

import pytest

import stageinteractor.machine.memory as module
from stageinteractor.command_line import command
from stageinteractor.engine.launch import launch

NAME = "THP_MEM_ALLOC_ENABLE"
VARIABLES = (*module.MALLOC_SETTINGS, "MALLOC_MMAP_THRESHOLD_")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    for name in (NAME, *VARIABLES):
        monkeypatch.setenv(name, "")  # restored after the test, whatever the test sets
        monkeypatch.delenv(name)


@pytest.mark.parametrize(("user_value", "expected"), [(None, "1"), ("0", "0")])
def test_user_value_for_huge_pages_is_kept(user_value, expected, monkeypatch):
    if user_value is not None:
        monkeypatch.setenv(NAME, user_value)
    assert command(lambda: os.environ[NAME])() == expected


def test_training_asks_for_huge_pages():
    seen = []
    launch(lambda: seen.append(os.environ[NAME]), ())
    assert seen == ["1"]


def test_the_library_does_not_touch_the_environment():
    import stageinteractor.engine
    import stageinteractor.modeling  # noqa: F401

    assert NAME not in os.environ


class FakeLibc:
    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def mallopt(self, parameter: int, value: int) -> int:
        self.calls.append((parameter, value))
        return 1


@pytest.mark.parametrize("variable", [None, *VARIABLES])
def test_freed_memory_is_kept_unless_the_user_decides(variable, monkeypatch):
    if variable is not None:
        monkeypatch.setenv(variable, "131072")
    libc = FakeLibc()
    monkeypatch.setattr(module.ctypes, "CDLL", lambda _: libc)
    module.keep_freed_memory()
    assert libc.calls == ([] if variable else list(module.MALLOC_SETTINGS.values()))
    assert ("MALLOC_TOP_PAD_" in os.environ) == (variable in (None, "MALLOC_TOP_PAD_"))


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(module.ctypes, "CDLL", lambda _: object())
    module.keep_freed_memory()
    assert not module.MALLOC_SETTINGS.keys() & os.environ.keys()


def peak_and_rest(prefix: str, **environment: str) -> tuple[int, int]:
    """MiB that a fresh process has with a tensor of 300 MiB, and after it is freed."""
    script = prefix + textwrap.dedent("""
        import torch
        def held():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * 4096 >> 20
        tensor = torch.ones(75 * 2**20)
        peak = held()
        del tensor
        print(peak, held())
    """)
    inherited = {name: value for name, value in os.environ.items() if "MALLOC_" not in name}
    run = subprocess.run(
        [sys.executable, "-c", script],
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    peak, rest = map(int, run.stdout.split())
    return peak, rest


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="another C library than glibc"
)
def test_freed_tensor_stays_with_the_process_and_its_children(monkeypatch):
    peak, rest = peak_and_rest("")
    assert peak - rest > 280
    ask = "from stageinteractor.machine.memory import keep_freed_memory; keep_freed_memory()"
    peak, rest = peak_and_rest(ask)
    assert peak - rest < 20
    monkeypatch.setattr(module.ctypes, "CDLL", lambda _: FakeLibc())
    module.keep_freed_memory()
    peak, rest = peak_and_rest("", **{name: os.environ[name] for name in module.MALLOC_SETTINGS})
    assert peak - rest < 20
