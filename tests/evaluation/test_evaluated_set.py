"""The file of the evaluated set: round trip, missing, malformed."""

import json
from pathlib import Path
from typing import Any

import pytest
from malformed_json import ODD_FILES, make_odd

from stageinteractor.errors import DataError
from stageinteractor.evaluation.evaluated_set import (
    FILE,
    EvaluatedSet,
    read_evaluated_set,
    save_evaluated_set,
)

GOOD = {"json": "a.json", "images": "a", "image_ids": [1, "b"]}


def test_round_trip(tmp_path: Path):
    (tmp_path / "a.json").touch()
    evaluated = EvaluatedSet(str(tmp_path / "a.json"), str(tmp_path), [2**63, "frame_0000"])
    save_evaluated_set(tmp_path, evaluated)
    assert read_evaluated_set(tmp_path) == evaluated


def test_none_without_the_file_or_the_data_set(tmp_path: Path):
    assert read_evaluated_set(tmp_path) is None
    (tmp_path / "a.json").touch()
    for names in (("a.json", "gone"), ("gone.json", ""), ("a.json", None)):
        json_file, images = (name if name is None else str(tmp_path / name) for name in names)
        save_evaluated_set(tmp_path, EvaluatedSet(json_file, images or "", [1]))
        assert read_evaluated_set(tmp_path) is None


@pytest.mark.parametrize("kind", [each for each in ODD_FILES if each not in ("folder", "fifo")])
def test_malformed_file_is_named(tmp_path: Path, kind: str):
    make_odd(tmp_path / FILE, kind)
    if (tmp_path / FILE).is_file():
        with pytest.raises(DataError, match=FILE):
            read_evaluated_set(tmp_path)


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("value", [None, 1, {}, [[]], "\0"])
def test_malformed_value_is_named(tmp_path: Path, name: str, value: Any):
    (tmp_path / FILE).write_text(json.dumps(GOOD | {name: value}))
    with pytest.raises(DataError, match=FILE):
        read_evaluated_set(tmp_path)
