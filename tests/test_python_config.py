"""What goes wrong in a .py config is one line with file and line."""

import builtins

import pytest

from stageinteractor.config import load_config
from stageinteractor.errors import ConfigError, MissingDependencyError

WRONG = {
    "x = 1\nfrom .gone import model\n": r"config.py:2: .*gone.py does not exist",
    "x = 1\nfrom .other import gone\n": r"config.py:2: .*gone",
    "x = 1\nimport torch.gone\n": r"config.py:2: .*torch\.gone",
    "x = 1\nfrom torch import gone\n": r"config.py:2: .*gone",
    "x = 1\nmodel = gone\n": r"config.py:2: NameError",
    "x = 1\nmodel = {\n": r"config\.py.*Line 2",
    "\0": r"config\.py.*Line 1",
    "raise ValueError('two\\nlines')\n": r"config.py:1: ValueError: two lines",
    "from .broken import model\n": r"broken.py:2: ZeroDivisionError",
}


@pytest.fixture
def config(tmp_path):
    (tmp_path / "other.py").write_text("y = 1\n")
    (tmp_path / "broken.py").write_text("model = {}\nnumber = 1 / 0\n")
    return tmp_path / "config.py"


@pytest.mark.parametrize(("text", "line"), WRONG.items())
def test_a_mistake_is_one_line_with_its_place(text, line, config):
    config.write_text(text)
    with pytest.raises(ConfigError, match=line) as caught:
        load_config(config)
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_named_with_how_to_get_it(config):
    config.write_text("x = 1\nimport a_package_that_is_gone.part\n")
    message = (
        "config.py:2: .*'a_package_that_is_gone': pip install a_package_that_is_gone, or .*own"
    )
    with pytest.raises(MissingDependencyError, match=message):
        load_config(config)


def test_bytes_that_are_no_text_are_refused(config):
    config.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"config\.py"):
        load_config(config)


def test_an_error_leaves_the_import_as_it_was(config):
    before = builtins.__import__
    config.write_text("1 / 0\n")
    with pytest.raises(ConfigError):
        load_config(config)
    assert builtins.__import__ is before
