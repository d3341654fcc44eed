"""A set of crowds only: training and check_dataset refuse it, and their advice works."""

import json

import pytest


@pytest.fixture
def crowds(shapes_set, small_run, tmp_path) -> list[str]:
    """Overrides for a run on a training set of crowds only."""
    content = json.loads((shapes_set / "train.json").read_text())
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 1
    (tmp_path / "crowds.json").write_text(json.dumps(content))
    return [*small_run, f"dataset.train.json={tmp_path / 'crowds.json'}", "train.max_iter=1"]


@pytest.mark.parametrize("more", [[], ["train.epochs=1"], ["train.fast_dev_run.enabled=true"]])
def test_crowds_only_are_refused_by_file_and_key(call, crowds, capsys, more):
    with pytest.raises(SystemExit) as stop:
        call(*crowds, *more)
    (line,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("error")]
    assert stop.value.code == 2
    assert "crowds.json" in line and "dataloader.train.dataset.filter_empty" in line


def test_crowds_only_are_accepted_without_the_filter(call, crowds):
    call(*crowds, "dataloader.train.dataset.filter_empty=false")


def test_check_dataset_reports_crowds_only(load_tool, crowds, shapes_set, tmp_path, capsys):
    code = load_tool("check").main([f"{tmp_path}/crowds.json", f"{shapes_set}/train"])
    text = capsys.readouterr().out
    assert code == 1
    assert "crowds.json" in text and "dataloader.train.dataset.filter_empty" in text
