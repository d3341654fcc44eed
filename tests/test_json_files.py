"""JSON files are read, or refused in one line that names the file and says what to do."""

import math
from pathlib import Path
from typing import Any

import pytest
from malformed_json import ODD_FILES, make_odd

from stageinteractor.errors import DataError, one_line
from stageinteractor.json_files import is_metric_value, read_json, read_json_lines

OBJECTS = {"empty-object"}
LISTS = {"list", "list-of-numbers"}
LINES = {"empty-object"}


def assert_refused(call: Any, path: Path) -> None:
    with pytest.raises(DataError) as caught:
        call()
    message = str(caught.value)
    assert str(path) in message and message.endswith("; try again")
    assert "\n" not in message and len(message) < 400 + len(str(path))
    assert one_line(caught.value)


@pytest.mark.parametrize("kind", ODD_FILES)
def test_an_odd_file_is_refused_in_one_line(tmp_path: Path, kind: str):
    path = tmp_path / "x.json"
    make_odd(path, kind)
    if kind not in OBJECTS:
        assert_refused(lambda: read_json(path, dict, "try again"), path)
    if kind not in LISTS:
        assert_refused(lambda: read_json(path, list, "try again"), path)
    if kind not in LINES:
        assert_refused(lambda: list(read_json_lines(path, "try again")), path)


def test_a_missing_file_is_refused(tmp_path: Path):
    assert_refused(lambda: read_json(tmp_path / "x.json", dict, "try again"), tmp_path / "x.json")


def test_what_is_expected_and_what_is_there_are_named(tmp_path: Path):
    path = tmp_path / "x.json"
    path.write_text("[]")
    with pytest.raises(DataError, match="expected an object of numbers, got a list"):
        read_json(path, dict, "try again", "an object of numbers")


def test_content_is_returned_as_it_is(tmp_path: Path):
    path = tmp_path / "x.json"
    path.write_bytes(b'\xef\xbb\xbf{"id": 9007199254740993, "AP": NaN}')  # a byte-order mark
    content = read_json(path, dict, "")
    assert content["id"] == 2**53 + 1 and math.isnan(content["AP"])
    path.write_text("[1]")
    assert read_json(path, list, "") == [1]


def test_lines_have_their_numbers(tmp_path: Path):
    path = tmp_path / "x.json"
    path.write_text('{"a": 1}\n{"a": "\u2028"}\n')
    assert list(read_json_lines(path, "")) == [(1, {"a": 1}), (2, {"a": "\u2028"})]
    path.write_text('{"a": 1}\n{"a"\n{"a": 1}\n')
    with pytest.raises(DataError, match=r"x\.json, line 2"):
        list(read_json_lines(path, ""))


@pytest.mark.parametrize("value", [0, -1.5, 2**64, math.nan, math.inf])
def test_numbers_of_a_double_are_values(value: float):
    assert is_metric_value(value)


@pytest.mark.parametrize("value", [True, None, "1", [1], {}, 10**400])
def test_everything_else_is_no_value(value: Any):
    assert not is_metric_value(value)
