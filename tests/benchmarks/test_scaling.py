"""The straight line, and a small sweep with its plot."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks import scaling
from stageinteractor.config import load_config

CONFIGS = Path(__file__).parents[2] / "projects/stageinteractor/configs"


def test_deviation_of_a_curve_is_reported():
    curve = scaling.fit((0, 1, 2), [1.0, 1.0, 4.0])  # the line is 0.5 + 1.5 x
    assert curve["deviation"] == pytest.approx(1.0)
    assert curve["r2"] == pytest.approx(0.75)


@pytest.mark.parametrize("name", ["stageinteractor_r50_1x", "adamixer_r50_1x", "asag_a_r50_1x"])
def test_every_quantity_is_varied_and_drawn(name, monkeypatch, tmp_path):
    axes = {"stages": (1, 3), "images": (1, 2), "queries": (5, 10), "objects": (2, 4)}
    monkeypatch.setattr(scaling, "AXES", axes)
    monkeypatch.setattr(scaling, "BASE", {"stages": 2, "images": 1, "queries": 5, "objects": 2})
    monkeypatch.setattr(scaling, "FIXED", {})
    monkeypatch.setattr(scaling, "SIZE", (64, 64))
    cfg = load_config(CONFIGS / f"{name}.py")
    before = cfg.copy()
    curves = scaling.measure_scaling(cfg, torch.device("cpu"), repeats=2)
    assert cfg == before
    assert [(curve["part"], curve["axis"]) for curve in curves] == [
        *(("decoder", axis) for axis in ("stages", "images", "queries")),
        *(("criterion", axis) for axis in axes),
        ("criterion (contested)", "objects"),
    ]
    for curve in curves:
        assert curve["values"] == list(axes[curve["axis"]])
        assert all(ms > 0 for ms in curve["ms"])
    by_axis = {curve["axis"]: curve["gflop"] for curve in curves if curve["part"] == "decoder"}
    one, two = by_axis["images"]
    assert two == pytest.approx(2 * one)
    scaling.plot_scaling(curves, tmp_path / "scaling.png")
    assert Image.open(tmp_path / "scaling.png").size[0] > 1000
