"""Histograms grow with the number of classes and show what they are given."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stageinteractor.visualization.histograms import plot_boxes, plot_classes

BLUE = (31, 119, 180)  # matplotlib's first colour


def blue(path: Path) -> np.ndarray:
    """Mask of the bars in the figure."""
    return (np.asarray(Image.open(path).convert("RGB")) == BLUE).all(-1)


def num_bars(path: Path) -> int:
    """Count the separate bars of the first column, from top to bottom."""
    rows = blue(path)[:, : blue(path).shape[1] // 2].any(1).astype(int)
    return int((np.diff(rows, prepend=0) == 1).sum())


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (10, 10), (40, 40), (80, 40), (200, 40)])
def test_every_class_has_a_bar_in_columns_of_at_most_forty(tmp_path, count, rows):
    path = tmp_path / "classes.png"
    plot_classes({f"class {n}": 50 + n for n in range(count)}, path)
    assert num_bars(path) == rows
    width, height = Image.open(path).size
    assert width < 1500 and height < 1300


def test_bars_are_as_long_as_the_counts(tmp_path):
    path = tmp_path / "classes.png"
    plot_classes({"rare": 25, "common": 100}, path)
    lengths = blue(path).sum(1)
    first, second = lengths[: len(lengths) // 2].max(), lengths[len(lengths) // 2 :].max()
    assert second / first == pytest.approx(0.25, abs=0.02)


def test_boxes_are_drawn_in_two_panels(tmp_path):
    path = tmp_path / "boxes.png"
    plot_boxes([(10, 20)] * 30 + [(200, 100)] * 10, path)
    drawn = blue(path)
    assert drawn[:, : drawn.shape[1] // 2].any() and drawn[:, drawn.shape[1] // 2 :].any()


def test_bar_of_a_rare_class_is_visible(tmp_path):
    path = tmp_path / "classes.png"
    plot_classes({"rare": 3, "common": 30000, "none": 0}, path)
    assert num_bars(path) == 2
    assert blue(path).sum(1).max() < 10 * blue(path).sum(1)[blue(path).any(1)].min()
