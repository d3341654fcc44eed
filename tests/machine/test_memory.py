"""Huge pages are asked for by our tools, in time, and not against the user's wish."""

import os

import pytest

import stageinteractor.machine.memory as module
from stageinteractor.command_line import command
from stageinteractor.engine.launch import launch

NAME = "THP_MEM_ALLOC_ENABLE"


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    for name in (NAME, *module.MALLOC_SETTINGS):
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


@pytest.mark.parametrize("variable", [None, *module.MALLOC_SETTINGS])
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


def test_glibc_takes_the_settings():
    libc = module.ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        pytest.skip("not glibc")
    assert all(libc.mallopt(*setting) == 1 for setting in module.MALLOC_SETTINGS.values())
