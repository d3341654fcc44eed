"""The picture of a confusion matrix."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stageinteractor.visualization.confusion_plot import plot_confusion, row_shares

MATRIX = np.array([[6, 1, 1], [0, 0, 0], [3, 1, 0]])


def test_shares_are_per_cent_of_the_row():
    assert row_shares(MATRIX).tolist() == [[75, 12.5, 12.5], [0, 0, 0], [75, 25, 0]]


def test_cells_show_the_shares_with_numbers(tmp_path: Path, figures: list[Any]):
    plot_confusion(MATRIX, ["cat", "dog"], 0.25, tmp_path / "confusion.png")
    axes = figures[0].axes[0]
    assert axes.images[0].get_array().tolist() == row_shares(MATRIX).tolist()
    told = {tuple(map(int, t.get_position())): t.get_text() for t in axes.texts}
    assert told == {(0, 0): "75", (1, 0): "12", (2, 0): "12", (0, 2): "75", (1, 2): "25"}
    assert [t.get_text() for t in axes.get_xticklabels()] == ["cat", "dog", "not found"]
    assert [t.get_text() for t in axes.get_yticklabels()] == [
        "cat (8)",
        "dog (0)",
        "background (4)",
    ]
    assert "score >= 0.25" in axes.get_title()


@pytest.mark.parametrize("classes", [1, 10, 80])
def test_names_of_neighbouring_rows_do_not_touch(tmp_path: Path, figures: list[Any], classes: int):
    names = [f"class number {k}" for k in range(classes)]
    plot_confusion(np.eye(classes + 1, dtype=int), names, 0.3, tmp_path / "confusion.png")
    axes = figures[0].axes[0]
    boxes = [text.get_window_extent() for text in axes.get_yticklabels()]
    assert all(one.y0 >= following.y1 for one, following in zip(boxes, boxes[1:], strict=False))
    assert bool(axes.texts) == (classes < 25)
    with Image.open(tmp_path / "confusion.png") as picture:
        assert 300 < picture.height < 2200
