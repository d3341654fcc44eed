"""The figure of a confusion matrix."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stageinteractor.visualization.confusion_plot import plot_confusion, row_percentages

MATRIX = np.array([[6, 1, 1], [0, 0, 0], [3, 1, 0]])


def test_row_percentages():
    assert row_percentages(MATRIX).tolist() == [[75, 12.5, 12.5], [0, 0, 0], [75, 25, 0]]


def test_cells_have_percentages_as_numbers(tmp_path: Path, figures: list[Any]):
    plot_confusion(MATRIX, ["cat", "dog"], 0.25, tmp_path / "confusion.png")
    axes = figures[0].axes[0]
    assert axes.images[0].get_array().tolist() == row_percentages(MATRIX).tolist()
    cells = {tuple(map(int, t.get_position())): t.get_text() for t in axes.texts}
    assert cells == {(0, 0): "75", (1, 0): "12", (2, 0): "12", (0, 2): "75", (1, 2): "25"}
    assert [t.get_text() for t in axes.get_xticklabels()] == ["cat", "dog", "missed"]
    assert [t.get_text() for t in axes.get_yticklabels()] == [
        "cat (8)",
        "dog (0)",
        "background (4)",
    ]
    assert "score >= 0.25" in axes.get_title()


@pytest.mark.parametrize("classes", [1, 10, 80])
def test_row_names_do_not_overlap(tmp_path: Path, figures: list[Any], classes: int):
    names = [f"class number {k}" for k in range(classes)]
    plot_confusion(np.eye(classes + 1, dtype=int), names, 0.3, tmp_path / "confusion.png")
    axes = figures[0].axes[0]
    boxes = [text.get_window_extent() for text in axes.get_yticklabels()]
    assert all(one.y0 >= following.y1 for one, following in zip(boxes, boxes[1:], strict=False))
    assert bool(axes.texts) == (classes < 25)
    with Image.open(tmp_path / "confusion.png") as image:
        assert 300 < image.height < 2200
