"""Every command line explains itself and reports what it is given wrongly in one line."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stageinteractor.cli.main import COMMANDS, main
from stageinteractor.engine import launch

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture
def call(load_tool, monkeypatch):
    """Run the main function of a tool with these arguments."""

    def run(name: str, *arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        return load_tool(name).main()

    return run


@pytest.mark.parametrize("name", [*COMMANDS, "audit", "compare_detectron2", "image_steps"])
def test_help_has_purpose_and_example(name, load_tool, monkeypatch, capsys):
    is_script = name not in COMMANDS
    example = rf"tools/{name}\.py" if is_script else f"stageinteractor {name}"
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as stop:
        load_tool(name).main() if is_script else main([name, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert re.search(rf"^ *{example}\b", text, re.MULTILINE), "no example"


@pytest.mark.parametrize("path", sorted(TOOLS.glob("*.py")), ids=lambda path: path.stem)
def test_a_script_is_a_command_or_a_tool_of_this_repository(path):
    text = path.read_text()
    if path.stem in ("audit", "compare_detectron2", "image_steps"):
        return
    command = re.search(r"from stageinteractor\.cli\.(\w+) import main", text)[1]
    assert command.replace("_", "-") in COMMANDS
    assert len(text.splitlines()) < 10


def test_list_of_commands_needs_neither_torch_nor_detectron2():
    code = (
        "import sys; from stageinteractor.cli.main import main; main([]);"
        "sys.exit('torch' in sys.modules or 'detectron2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


def test_help_needs_neither_torch_nor_detectron2():
    """It would take seconds. The choices of three commands are classes and weights."""
    names = [name for name in COMMANDS if name not in ("ablate", "datasets", "weights")]
    code = (
        "import contextlib, sys; from stageinteractor.cli.main import main\n"
        f"for name in {names}:\n"
        "    with contextlib.suppress(SystemExit): main([name, '--help'])\n"
        "    assert not {'torch', 'detectron2'} & sys.modules.keys(), name"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage:") == len(names)


def test_a_package_that_is_no_requirement_is_not_advised_to_be_installed(monkeypatch):
    def fail(folder):
        raise ModuleNotFoundError("No module named 'my_mapper'", name="my_mapper")

    monkeypatch.setattr("stageinteractor.visualization.run_report.write_report", fail)
    with pytest.raises(ModuleNotFoundError, match="my_mapper"):
        main(["report", "output/demo"])


def test_unknown_command_is_refused_with_the_names(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["trian"])
    assert stop.value.code == 2
    assert "'train'" in capsys.readouterr().err


def test_eval_is_train_without_training(monkeypatch):
    seen = []
    monkeypatch.setattr(launch, "launch", lambda run, args, **_: seen.append(args[0]))
    assert main(["eval", "digits_in_photos", "train.max_iter=3"]) == 0
    (args,) = seen
    assert args.eval_only and args.config_file == "digits_in_photos"
    assert args.opts == ["train.max_iter=3"]


def test_a_config_is_required(capsys):
    with pytest.raises(SystemExit):
        main(["train", "train.max_iter=3"])
    assert "a config is required" in capsys.readouterr().err


def test_configs_are_listed_by_name(capsys):
    assert main(["configs", "r50_1x"]) == 0
    table = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()[2:]}
    assert table["stageinteractor_r50_1x"][1:] == ["100", "12", "136.9", "M", "44.8"]
    assert "stageinteractor_dx101_300_crop_3x" not in table


def test_checkpoint_conversion_round_trip(call, tmp_path, capsys):
    ours = {"neck.norm.weight": torch.rand(4), "decoder.stages.0.attention.tau": torch.rand(8)}
    first, there, back = (str(tmp_path / f"{name}.pth") for name in ("ours", "theirs", "back"))
    torch.save({"model": ours}, first)
    assert call("convert", first, there, "--to-mmdet") == 0
    published = torch.load(there, weights_only=True)["state_dict"]
    assert set(published) == {"neck.gn_out.weight", "roi_head.bbox_head.0.iof_tau"}
    assert call("convert", there, back) == 0
    converted = torch.load(back, weights_only=True)["model"]
    assert all(torch.equal(converted[name], ours[name]) for name in ours) and len(converted) == 2


def test_checkpoint_that_does_not_fit_the_config(call, tmp_path, capsys):
    torch.save({"neck.gn_out.weight": torch.rand(4)}, tmp_path / "theirs.pth")
    demo = TOOLS.parent / "projects/stageinteractor/configs/demo/digits_in_photos.py"
    opts = "--config-file", str(demo), "model.backbone.weights=null"
    target = tmp_path / "ours.pth"
    assert call("convert", str(tmp_path / "theirs.pth"), str(target), *opts) == 2
    errors = capsys.readouterr().err
    assert "missing: queries.content.weight" in errors or "missing: backbone" in errors
    assert "other shapes: neck.norm.weight (4,) instead of (128,)" in errors
    assert not target.exists()


def test_model_cost_is_printed_by_module(call, capsys):
    demo = TOOLS.parent / "projects/stageinteractor/configs/demo/digits_in_photos.py"
    assert call("analyze", "--config-file", str(demo), "--size", "64", "64") == 0
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()[3:]}
    memory = rows.pop("memory")
    assert memory[4] == "36;"  # 9.4 M parameters of 4 bytes
    assert set(rows) == {"whole", "backbone", "neck", "queries", "decoder"}
    assert rows["queries"][1:3] == ["3,840", "3,840"]  # 30 x 128


def test_checkpoint_is_not_converted_onto_itself(call, tmp_path, capsys):
    path = tmp_path / "ours.pth"
    torch.save({"model": {"neck.norm.weight": torch.rand(4)}}, path)
    before = path.read_bytes()
    assert call("convert", str(path), f"{tmp_path}/./ours.pth", "--to-mmdet") == 2
    assert "ours.pth" in capsys.readouterr().err
    assert path.read_bytes() == before
