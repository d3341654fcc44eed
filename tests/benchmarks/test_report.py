"""Sums over stages, tables, and the comparison with an older result."""

import json

import pytest

from benchmarks.report import as_result, read_result, tables, write_result
from benchmarks.roofline import Rates
from benchmarks.rows import INFERENCE, TRAINING, Row
from benchmarks.timing import Timing
from stageinteractor.errors import DataError

SETTINGS = {"config": "x.py", "overrides": [], "precision": "float32", "batch": 1, "threads": 2}
MACHINE = {
    "machine": "a machine",
    "torch": "2.9",
    "float32 matmul precision": "highest",
    "date": "2026-01-01 00:00",
}
RATES = Rates(flops=1e9, bytes=1e9)


def row(title, milliseconds, *, mode=INFERENCE, stage=None, ranked=True, bound=0.001):
    timing = Timing(tuple(each / 1e3 for each in milliseconds))
    return Row(title, mode, stage, ranked, 1, timing, 10**6, 2**20, 2**20, bound)


ROWS = [
    row("decoder", (40, 42, 44), ranked=False),
    row("FFN", (10, 12, 20), stage=0),
    row("FFN", (30, 20, 10), stage=1),
    row("heads", (5, 5, 5), stage=0),
    row("postprocessing", (2, 2, 2), bound=0.0),
    row("FFN", (90, 90, 90), mode=TRAINING, stage=0),
]


@pytest.fixture
def result():
    return as_result(SETTINGS, MACHINE, RATES, ROWS)


def test_stages_are_summed_run_by_run(result):
    ffn = next(each for each in result["rows"] if each["name"] == "FFN")
    assert ffn["runs_ms"] == pytest.approx([40, 32, 30])
    assert ffn["median_ms"] == pytest.approx(32) and ffn["spread_ms"] == pytest.approx(5)
    assert ffn["calls"] == 2 and ffn["gflop"] == 2e-3 and ffn["bound_ms"] == 2.0
    assert ffn["times_bound"] == pytest.approx(16.0)
    assert [(each["name"], each["stage"]) for each in result["stages"]] == [
        ("FFN", 0), ("FFN", 1), ("heads", 0), ("FFN", 0)
    ]  # fmt: skip


def test_cost_of_duplicate_removal_is_a_share_of_the_decoder():
    costs = {"decoder": 42, "duplicate removal": 1, "its loss": 0.05}
    training = [row(name, (cost,) * 3, mode=TRAINING) for name, cost in costs.items()]
    inference = [*ROWS, row("duplicate removal", (1, 1, 1))]
    with_removal = tables(as_result(SETTINGS, MACHINE, RATES, [*inference, *training]))
    assert "\nduplicate removal: 2.4 % of the decoder" in with_removal
    assert "\nduplicate removal and its loss: 2.5 % of the decoder" in with_removal
    assert "of the decoder" not in tables(as_result(SETTINGS, MACHINE, RATES, ROWS))


def test_comparison_has_old_median_and_ratio_per_row(result, tmp_path):
    old = json.loads(json.dumps(result))
    for each in old["rows"]:
        each["median_ms"] *= 1.5
    old["rows"] = [each for each in old["rows"] if each["name"] != "heads"]
    write_result(old, tmp_path / "old.json")
    table = tables(result, read_result(tmp_path / "old.json", SETTINGS))
    cells = {line.split()[0]: line.split()[-2:] for line in table.splitlines() if line}
    assert cells["decoder"] == ["63", "1.50"]
    assert cells["heads"] != ["7.5", "1.50"]
    (heads,) = [line.split() for line in table.splitlines() if line.startswith("  heads")]
    assert heads[-2:] == ["-", "-"]


def test_a_result_of_other_settings_is_refused_with_their_names(result, tmp_path):
    write_result(result, tmp_path / "old.json")
    with pytest.raises(DataError, match="batch 1 instead of 4; threads 2 instead of 1") as error:
        read_result(tmp_path / "old.json", SETTINGS | {"batch": 4, "threads": 1})
    assert "old.json cannot be compared" in str(error.value)
    assert "precision" not in str(error.value)


@pytest.mark.parametrize("text", ["not json", "[]", "{}", '{"settings": {}, "rows": [{}]}'])
def test_another_file_is_no_result(tmp_path, text):
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(DataError, match="other.json: not a result"):
        read_result(tmp_path / "other.json", SETTINGS)
