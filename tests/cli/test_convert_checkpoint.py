"""stageinteractor convert on files that are not checkpoints: one line, exit code 2."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tally import count_fault

NAME = "neck.gn_out.weight"


def saved(content: Any) -> Callable[[Path], None]:
    return lambda path: torch.save(content(), path)


ODD = {
    "sparse": saved(lambda: {NAME: torch.eye(3).to_sparse()}),
    "meta": saved(lambda: {NAME: torch.empty(3, device="meta")}),
    "NaN": saved(lambda: {NAME: torch.full((3,), torch.nan)}),
    "list": saved(lambda: [1]),
    "no weights": saved(lambda: {"state_dict": {}}),
    "null": saved(lambda: {"state_dict": None}),
    "numbers as names": saved(lambda: {"state_dict": {3: torch.ones(2)}}),
    "no bytes": Path.touch,
    "FIFO": os.mkfifo,
    "folder": Path.mkdir,
    "endless": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("options", [[], ["--to-mmdet"]])
def test_odd_checkpoints_are_refused_in_one_line(
    load_tool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys,
    kind: str,
    options: list[str],
):
    source, target = tmp_path / "odd.pth", tmp_path / "out.pth"
    ODD[kind](source)
    monkeypatch.setattr("sys.argv", ["convert", str(source), str(target), *options])
    assert load_tool("convert").main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert not target.exists()
    count_fault("bad checkpoint")
