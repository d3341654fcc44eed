"""The commands of docs/tutorial.md, in its order, on a tiny set of the same form."""

import shlex
from pathlib import Path

import pytest
from bccd_clone import write_bccd_clone

from stageinteractor.cli.main import main

PAGE = Path(__file__).resolve().parents[2] / "docs/tutorial.md"
SMALLER = {  # a smaller model and a shorter training
    "train": [
        *("train.fast_dev_run.enabled=true", "train.device=cpu", "model.backbone.weights=null"),
        *("model.decoder.num_stages=2", "model.decoder.embed_dim=32"),
        *("model.decoder.feedforward_dim=32", "dataloader.train.total_batch_size=1"),
    ],
    "export": ["--size", "64", "64", "--size", "64", "96"],
}
WRITTEN = (
    "check/classes.png",
    "cells.jpg",
    "datasets/blood_cells/test.json",
    "output/try/config.yaml",
    "output/blood_cells/curves.png",
    "output/blood_cells/results/errors.json",
    "output/cells/detections.csv",
    "output/blood_cells/assignment/assignment.html",
    "output/blood_cells/export/model.onnx",
    "output/mine/config.yaml",
)


def page_commands() -> list[list[str]]:
    """Command lines of the page without "stageinteractor", but the installation."""
    lines = PAGE.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("stageinteractor ")]
    return [command for command in commands if command[0] != "install-detectron2"]


@pytest.mark.slow
def test_every_command_of_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_bccd_clone(Path("BCCD_Dataset"))
    Path("mine").symlink_to("datasets/blood_cells")
    for command in page_commands():
        assert main([*command, *SMALLER.get(command[0], [])]) == 0, command
    assert [name for name in WRITTEN if not Path(name).is_file()] == []
