"""Huge pages are asked for by our tools, in time, and not against the user's wish."""

import os

import pytest

from stageinteractor.command_line import command
from stageinteractor.engine.launch import launch

NAME = "THP_MEM_ALLOC_ENABLE"


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    monkeypatch.setenv(NAME, "")
    monkeypatch.delenv(NAME)


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
