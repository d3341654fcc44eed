"""Every command line explains itself and reports what it is given wrongly in one line."""

import re
import sys
from pathlib import Path

import pytest
import torch

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture
def call(load_tool, monkeypatch):
    """Run the main function of a tool with these arguments."""

    def run(name: str, *arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        return load_tool(name).main()

    return run


@pytest.mark.parametrize("name", sorted(path.stem for path in TOOLS.glob("*.py")))
def test_help_has_purpose_and_example(name, load_tool, monkeypatch, capsys):
    monkeypatch.syspath_prepend(TOOLS)  # as for a script: tools may import each other
    module = load_tool(name)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as stop:
        getattr(module, "main", getattr(module, "parse_args", None))()
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert re.search(rf"^ *tools/{name}\.py ", text, re.MULTILINE), "no example"
    help_text = " ".join(text.split())
    assert " ".join(module.__doc__.split("\n\n")[0].split())[:60] in help_text


def test_report_of_a_folder_without_a_run(call, tmp_path, capsys):
    assert call("report", str(tmp_path)) == 2
    assert "metrics.json: no such file" in capsys.readouterr().err


def test_data_set_does_not_replace_another_folder(call, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    assert call("prepare_dataset", "digits_in_photos", "--output", str(tmp_path / "photos")) == 2
    assert "holds something else" in capsys.readouterr().err


def test_weights_are_prepared_once(call, tmp_path, capsys):
    path = tmp_path / "weights.pth"
    for message in ("written", "exists, kept"):
        assert call("prepare_weights", "efficientnet_lite0", "--output", str(path)) == 0
        assert message in capsys.readouterr().out


def test_checkpoint_conversion_round_trip(call, tmp_path, capsys):
    ours = {"neck.norm.weight": torch.rand(4), "decoder.stages.0.attention.tau": torch.rand(8)}
    first, there, back = (str(tmp_path / f"{name}.pth") for name in ("ours", "theirs", "back"))
    torch.save({"model": ours}, first)
    assert call("convert_checkpoint", first, there, "--to-mmdet") == 0
    published = torch.load(there, weights_only=True)["state_dict"]
    assert set(published) == {"neck.gn_out.weight", "roi_head.bbox_head.0.iof_tau"}
    assert call("convert_checkpoint", there, back) == 0
    converted = torch.load(back, weights_only=True)["model"]
    assert all(torch.equal(converted[name], ours[name]) for name in ours) and len(converted) == 2


def test_checkpoint_that_does_not_fit_the_config(call, tmp_path, capsys):
    torch.save({"neck.gn_out.weight": torch.rand(4)}, tmp_path / "theirs.pth")
    demo = TOOLS.parent / "projects/stageinteractor/configs/demo/digits_in_photos.py"
    opts = "--config-file", str(demo), "model.backbone.weights=null"
    target = tmp_path / "ours.pth"
    assert call("convert_checkpoint", str(tmp_path / "theirs.pth"), str(target), *opts) == 2
    errors = capsys.readouterr().err
    assert "missing: queries.content.weight" in errors or "missing: backbone" in errors
    assert "other shapes: neck.norm.weight (4,) instead of (128,)" in errors
    assert not target.exists()


def test_model_cost_is_printed_by_module(call, capsys):
    demo = TOOLS.parent / "projects/stageinteractor/configs/demo/digits_in_photos.py"
    assert call("analyze_model", "--config-file", str(demo), "--size", "64", "64") == 0
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()[3:]}
    memory = rows.pop("memory")
    assert memory[4] == "36;"  # 9.4 M parameters of 4 bytes
    assert set(rows) == {"whole", "backbone", "neck", "queries", "decoder"}
    assert rows["queries"][1:3] == ["3,840", "3,840"]  # 30 x 128


def test_checkpoint_is_not_converted_onto_itself(call, tmp_path, capsys):
    path = tmp_path / "ours.pth"
    torch.save({"model": {"neck.norm.weight": torch.rand(4)}}, path)
    before = path.read_bytes()
    assert call("convert_checkpoint", str(path), f"{tmp_path}/./ours.pth", "--to-mmdet") == 2
    assert "ours.pth" in capsys.readouterr().err
    assert path.read_bytes() == before
