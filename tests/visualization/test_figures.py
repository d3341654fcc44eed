"""Names from data in figures."""

from pathlib import Path

import pytest

from stageinteractor.visualization.figures import as_written, new_figure, save_figure

ODD = ["$x", "$x$", r"$\notacommand$", "caf\udce9", "\x1b[2J", "a\nb", "_hidden", "\\"]


@pytest.mark.parametrize("name", ODD)
def test_odd_names_can_be_written_and_stand_in_the_legend(tmp_path: Path, name: str):
    figure = new_figure(2, 2)
    axes = figure.subplots()
    axes.plot([0, 1], label=as_written(name))
    axes.set_title(as_written(name))
    assert len(axes.get_legend_handles_labels()[1]) == 1
    save_figure(figure, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 0


def test_ordinary_names_are_written_as_they_are():
    assert as_written("Bäume 2") == "Bäume 2"
