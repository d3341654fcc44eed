"""Control characters in log messages."""

import io
import logging

import pytest

from stageinteractor.engine.printable_logs import escape_log_messages


@pytest.fixture
def logged():
    """A function that logs a message and returns what reaches the handler."""

    def log(name: str, message: object, *args: object) -> str:
        stream = io.StringIO()
        logger = logging.Logger(name)
        logger.addHandler(logging.StreamHandler(stream))
        for _ in range(2):  # once more changes nothing
            escape_log_messages(logger)
        logger.warning(message, *args)
        return stream.getvalue()

    return log


@pytest.mark.parametrize("name", ["stageinteractor.engine", "detectron2.data"])
def test_control_characters_are_escaped(logged, name: str):
    line = logged(name, "class %s\tof\n%s", "\x1b]0;title\x07", "caf\udce9")
    assert line == "class \\x1b]0;title\\x07\tof\ncaf\\udce9\n"


def test_colours_of_other_packages_are_kept(logged):
    assert logged("fvcore.common", "\x1b[34mneck\x1b[0m") == "\x1b[34mneck\x1b[0m\n"
    assert logged("stageinteractor.data", "\x1b[34mcat") == "\\x1b[34mcat\n"


def test_wrong_arguments_raise_nothing(logged, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    assert logged("stageinteractor", "%d images", "no") == ""
