"""Every command line explains itself and reports what it is given wrongly in one line."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def call(monkeypatch):
    """Run the main function of a tool with these arguments."""

    def run(name: str, *arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        return load(name).main()

    return run


@pytest.mark.parametrize("name", sorted(path.stem for path in TOOLS.glob("*.py")))
def test_help_tells_what_the_tool_does(name, monkeypatch, capsys):
    monkeypatch.syspath_prepend(TOOLS)  # as for a script: tools may import each other
    module = load(name)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as stop:
        getattr(module, "main", getattr(module, "parse_args", None))()
    assert stop.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    assert " ".join(module.__doc__.split("\n\n")[0].split())[:60] in told


def test_a_report_of_a_folder_without_a_run(call, tmp_path, capsys):
    assert call("report", str(tmp_path)) == 2
    assert "metrics.json: no such file" in capsys.readouterr().err


def test_a_data_set_is_not_written_over_something_else(call, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    assert call("prepare_dataset", "digits_in_photos", "--output", str(tmp_path / "photos")) == 2
    assert "holds something else" in capsys.readouterr().err


def test_weights_are_prepared_once(call, tmp_path, capsys):
    path = tmp_path / "weights.pth"
    for told in ("written", "exists, kept"):
        assert call("prepare_weights", "efficientnet_lite0", "--output", str(path)) == 0
        assert told in capsys.readouterr().out
