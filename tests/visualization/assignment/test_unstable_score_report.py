"""Tables and figures of unstable scores."""

from dataclasses import replace

import pytest
from PIL import Image

from stageinteractor.visualization.assignment import Stability, plot_stability, stability_table

TWO = Stability(4, 8, (4,), None, (2, 6), (0, 8))
THREE = Stability(2, 4, (2, 1), 3, (0, 1, 0), (0, 0, 0))


def cells(table: str) -> dict[tuple[str, str], list[str]]:
    """{(measure, stage): a cell for every run}; columns are two spaces or more apart."""
    rows = {}
    for line in table.splitlines()[2:]:
        parts = [part.strip() for part in line.split("  ") if part.strip()]
        if len(parts) >= 3:
            rows[parts[0], parts[1]] = parts[2:]
    return rows


def test_a_column_for_every_run_and_a_dash_for_missing_steps():
    table = stability_table({"plain": TWO, "two-stage": THREE})
    assert table.splitlines()[0].split() == ["stage", "plain", "two-stage"]
    rows = cells(table)
    assert rows["unstable %", "encoder -> 0"] == ["-", "75.0"]
    assert rows["unstable %", "0 -> 1"] == ["50.0", "50.0"]
    assert rows["unstable %", "1 -> 2"] == ["-", "25.0"]
    assert rows["unstable %", "mean"] == ["50.0", "37.5"]
    assert rows["labels added / image", "1"] == ["1.50", "0.50"]
    assert rows["labels added / image", "2"] == ["-", "0.00"]
    assert rows["gt boxes with several queries, %", "1"] == ["100.0", "0.0"]
    assert rows["images", "4"] == ["2"] and rows["gt boxes", "8"] == ["4"]
    assert table.endswith("no step from the encoder: it proposes no queries in plain")


def test_steps_to_duplicate_removal_follow_those_of_the_stages():
    runs = {"two": replace(TWO, to_removal=2), "three": THREE}
    steps = [step for measure, step in cells(stability_table(runs)) if measure == "unstable %"]
    assert steps == ["encoder -> 0", "0 -> 1", "1 -> 2", "1 -> removal", "mean"]


@pytest.mark.filterwarnings("error", "ignore::DeprecationWarning")
def test_figure_has_a_line_for_every_run(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    drawn = []
    monkeypatch.setattr(
        Axes,
        "legend",
        lambda axes, **_: drawn.append(
            [(line.get_label(), line.get_xydata().tolist()) for line in axes.lines]
        ),
    )
    plot_stability({"a_$b$": TWO, "c": THREE}, tmp_path / "plot.png")
    unstable, added = drawn
    assert unstable == [
        (r"a_\$b\$: mean 50.0", [[1.0, 50.0]]),
        ("c: mean 37.5", [[0.0, 75.0], [1.0, 50.0], [2.0, 25.0]]),
    ]
    assert [points for _, points in added] == [
        [[0.0, 0.5], [1.0, 1.5]],
        [[0.0, 0.0], [1.0, 0.5], [2.0, 0.0]],
    ]
    with Image.open(tmp_path / "plot.png") as image:
        assert image.format == "PNG"
        assert image.width > 1000


def test_no_note_if_every_run_has_an_encoder_step():
    assert "no step" not in stability_table({"two-stage": THREE})
