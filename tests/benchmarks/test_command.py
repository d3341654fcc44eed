"""The tool on a small model: every part is in the table and in the JSON, with its numbers."""

import json
import re
from pathlib import Path

import pytest
import torch

from benchmarks.__main__ import main

DEMO = Path(__file__).parents[2] / "projects/stageinteractor/configs/demo"
SMALL = [
    "--size", "64", "96", "--batch", "2", "--queries", "6", "--objects", "3", "--repeats", "2",
    "--device", "cpu",
    "dataset.train.json=nowhere.json",
    "model.decoder.num_stages=3",
    "model.decoder.embed_dim=32",
    "model.decoder.feedforward_dim=32",
    "model.backbone.name=test_efficientnet",
    "model.neck.in_channels=[24,32,48,64]",
]  # fmt: skip
STAGE_PARTS = [
    "attention", "sampling", "filter generation", "channel mixing", "static mixing",
    "spatial mixing", "output projection", "FFN", "heads",
]  # fmt: skip
MODES = "inference", "training"
INFERENCE = ["backbone", "neck", "queries", "decoder", *STAGE_PARTS, "postprocessing"]
TRAINING = ["data loading", *INFERENCE[:-1], "matcher", "assigner", "losses", "criterion"]


def small(*more: str) -> list[str]:
    return ["--config-file", str(DEMO / "digits_in_photos.py"), *SMALL, *more]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What one run wrote and printed."""
    import contextlib
    import io

    path = tmp_path_factory.mktemp("benchmark") / "result.json"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(small("--json", str(path))) == 0
    return path, json.loads(path.read_text()), printed.getvalue()


def test_every_part_is_in_the_result_with_time_memory_and_bound(run):
    _, result, _ = run
    names = {mode: [r["name"] for r in result["rows"] if r["mode"] == mode] for mode in MODES}
    assert names["inference"] == [*INFERENCE, "whole model", "evaluation"]
    assert names["training"] == [*TRAINING, "forward", "backward", "optimiser"]
    for row in result["rows"]:
        assert len(row["runs_ms"]) == 2
        assert 0 < min(row["runs_ms"]) <= row["median_ms"] <= max(row["runs_ms"])
        assert row["spread_ms"] >= 0 and row["bound_ms"] >= 0 and row["peak_mib"] >= 0
    with_products = {"backbone", "neck", "decoder", "whole model", "forward", "backward"}
    with_products |= set(STAGE_PARTS) - {"sampling"}
    for row in result["rows"]:
        if row["name"] in with_products:
            assert row["gflop"] > 0 and row["bound_ms"] > 0 and row["peak_mib"] > 0, row


def test_settings_and_machine_are_in_the_result(run):
    _, result, printed = run
    assert result["settings"] == {
        "config": "demo/digits_in_photos.py",
        "overrides": sorted(each for each in SMALL if "=" in each),
        "device": "cpu",
        "precision": "float32",
        "batch": 2,
        "size": [64, 96],
        "queries": 6,
        "objects": 3,
        "threads": torch.get_num_threads(),
    }
    assert result["machine"]["torch"] == torch.__version__ and result["machine"]["machine"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", result["machine"]["date"])
    assert result["rates"]["gflop_per_s"] > 0 and result["rates"]["gb_per_s"] > 0
    for name in (*STAGE_PARTS, "matcher", "optimiser"):
        assert re.search(rf"^ *{name} +\d+ ", printed, re.MULTILINE), name
    assert "size 64x96" in printed and "<- 1" in printed


@pytest.fixture
def quick(monkeypatch):
    """The tool without the measurement, whose rows are those of an old result."""
    namespace = main.__wrapped__.__globals__
    from benchmarks.roofline import Rates
    from benchmarks.rows import Row
    from benchmarks.timing import Timing

    row = Row("neck", "inference", None, True, 1, Timing((0.5, 0.5)), 10, 10, 10, 0.1)
    monkeypatch.setitem(namespace, "measure_subject", lambda *_: (Rates(1e9, 1e9), [row]))
    return main


def test_against_an_older_result_the_ratio_is_shown(quick, run, tmp_path, capsys):
    _, result, _ = run
    for row in result["rows"]:
        row["median_ms"] = 750.0
    (tmp_path / "old.json").write_text(json.dumps(result))
    assert quick(small("--against", str(tmp_path / "old.json"))) == 0
    (neck,) = [x.split() for x in capsys.readouterr().out.splitlines() if x.startswith("neck")]
    assert neck[-2:] == ["750", "1.50"]


def test_other_settings_are_refused_before_measuring(quick, run, capsys):
    path, _, _ = run
    assert quick(small("--against", str(path), "--objects", "4")) == 2
    assert "objects 3 instead of 4" in capsys.readouterr().err


@pytest.mark.parametrize(("setting", "expected"), [("onednn", "medium"), ("default", "highest")])
def test_parts_are_multiplied_as_commands_do(quick, monkeypatch, tmp_path, setting, expected):
    monkeypatch.delenv("STAGEINTERACTOR_CPU_MATMUL", raising=False)  # it takes precedence
    namespace = quick.__wrapped__.__globals__
    measured, seen = namespace["measure_subject"], []

    def measure(*arguments):
        seen.append(torch.get_float32_matmul_precision())
        return measured(*arguments)

    monkeypatch.setitem(namespace, "measure_subject", measure)
    result = tmp_path / "result.json"
    assert quick(small("--json", str(result), f"train.cpu_matmul={setting}")) == 0
    assert seen == [expected]
    assert torch.get_float32_matmul_precision() == "highest"
    assert json.loads(result.read_text())["machine"]["float32 matmul precision"] == expected


def test_ratios_to_the_reference_implementation(quick, tmp_path, monkeypatch, capsys):
    from benchmarks import ratios

    row = ratios.Row("decoder forward", 30.0, 20.0, "ms", 1.5, 1.3)
    monkeypatch.setattr(ratios, "ratio_rows", lambda **_: [row])
    assert quick(small("--reference", "--json", str(tmp_path / "new.json"))) == 0
    output = capsys.readouterr().out
    assert re.search(r"decoder forward +30 ms +20 ms +1.50 +1.30", output)
    assert json.loads((tmp_path / "new.json").read_text())["reference"][0]["ratio"] == 1.5


def test_what_it_costs_to_find_queries(quick, tmp_path, monkeypatch, capsys):
    from benchmarks import anchors

    asked = []
    row = anchors.AnchorRow("anchors", 100, (5, 4), 30.0, 0.25)
    monkeypatch.setattr(anchors, "anchor_rows", lambda **each: asked.append(each) or [row])
    assert quick(small("--anchors", "--json", str(tmp_path / "new.json"))) == 0
    assert asked == [{"device": torch.device("cpu"), "precision": "float32", "repeats": 2}]
    assert re.search(r"anchors +100 +5 +4 +30 +0.250", capsys.readouterr().out)
    assert json.loads((tmp_path / "new.json").read_text())["anchors"][0]["crops"] == [5, 4]


def test_bf16_runs_on_a_cpu(tmp_path):
    path = tmp_path / "bf16.json"
    assert main(small("--precision", "bf16", "--json", str(path))) == 0
    result = json.loads(path.read_text())
    assert result["settings"]["precision"] == "bf16"
    assert len(result["rows"]) == len(INFERENCE) + len(TRAINING) + 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "tpu"], "--device 'tpu': use auto, cpu, cuda or cuda:1"),
        (["--precision", "fp16"], "--precision fp16 is for GPUs"),
        (["--against", "none.json"], "none.json: no such file"),
        (["train.compile=true"], "train.compile=true: the benchmark runs the parts of a stage"),
        (["model.decoder.stages=3"], "config key 'model.decoder.stages' does not exist"),
    ],
)
def test_usage_errors_are_one_line(capsys, options, message):
    assert main(small(*options)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error


def test_a_result_is_not_written_over_what_it_reads(tmp_path, capsys):
    (tmp_path / "old.json").write_text("{}")
    old = str(tmp_path / "old.json")
    assert main(["--against", old, "--json", old]) == 2
    assert "old.json" in capsys.readouterr().err
