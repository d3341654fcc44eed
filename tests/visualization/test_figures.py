"""Names from data in figures."""

from pathlib import Path

import pytest

from stageinteractor.visualization.figures import literal_text, new_figure, save_figure

ODD = ["$x", "$x$", r"$\notacommand$", "caf\udce9", "\x1b[2J", "a\nb", "_hidden", "\\"]


@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_shown_in_title_and_legend(tmp_path: Path, name: str):
    figure = new_figure(2, 2)
    axes = figure.subplots()
    axes.plot([0, 1], label=literal_text(name))
    axes.set_title(literal_text(name))
    assert len(axes.get_legend_handles_labels()[1]) == 1
    save_figure(figure, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 0


def test_ordinary_names_are_unchanged():
    assert literal_text("Bäume 2") == "Bäume 2"
