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


@pytest.mark.parametrize(("chosen", "wanted"), [(None, "1"), ("0", "0")])
def test_tools_ask_for_huge_pages_unless_the_user_has_chosen(chosen, wanted, monkeypatch):
    if chosen is not None:
        monkeypatch.setenv(NAME, chosen)
    assert command(lambda: os.environ[NAME])() == wanted


def test_training_asks_for_huge_pages():
    seen = []
    launch(lambda: seen.append(os.environ[NAME]), ())
    assert seen == ["1"]


def test_the_library_does_not_touch_the_environment():
    import stageinteractor.engine
    import stageinteractor.modeling  # noqa: F401

    assert NAME not in os.environ
