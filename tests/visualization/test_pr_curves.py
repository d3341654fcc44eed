"""Curves and bars have the evaluator's own numbers."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stageinteractor.data.coco_format import CocoSet
from stageinteractor.evaluation.backends import class_ap, precision_array
from stageinteractor.evaluation.coco import coco_api, evaluate_boxes
from stageinteractor.visualization.pr_curves import plot_class_ap, plot_precision_recall

BOXES = [[0, 0, 100, 100], [150, 0, 100, 100], [0, 150, 100, 100], [150, 150, 100, 100]]


def evaluate(classes: int, backend: str = "pycocotools") -> Any:
    """Class 0: half of the objects are detected; class 1: all, with IoU 0.8; class 2: no objects.

    Every further class has one object, which is detected.
    """
    objects = [(0, box) for box in BOXES[:2]] + [(1, box) for box in BOXES[:2]]
    objects += [(k, BOXES[k % 4]) for k in range(3, classes)]
    objects = [(k, box) for k, box in objects if k < classes]
    detected = [(k, box) for k, box in objects if k != 0 or box == BOXES[0]]
    results = [
        {
            "image_id": 1,
            "category_id": k + 1,
            "bbox": box if k != 1 else [*box[:2], 100, 80],
            "score": 0.9,
        }
        for k, box in detected
    ]
    annotations = [
        {"image_id": 1, "category_id": k + 1, "bbox": box, "area": 1e4, "iscrowd": 0}
        for k, box in objects
    ]
    image = {"id": 1, "file_name": "1.png", "width": 300, "height": 300}
    categories = [{"id": k + 1, "name": f"class {k}"} for k in range(classes)]
    coco_set = CocoSet("-", [image], annotations, categories)
    return evaluate_boxes(coco_api(coco_set), results, [1], backend)


def names(classes: int) -> list[str]:
    return [f"class {k}" for k in range(classes)]


@pytest.mark.parametrize("backend", ["pycocotools", "faster-coco-eval"])
def test_ap_of_classes_worked_out_by_hand(backend: str):
    evaluation = evaluate(3, backend)
    precision = precision_array(evaluation)
    assert precision.shape == (10, 101, 3)
    assert np.isnan(precision[:, :, 2]).all()
    ap, ap50 = class_ap(evaluation)
    half = 100 * 51 / 101  # precision 1 at the 51 recall levels from 0 to 0.5
    assert ap == pytest.approx([half, 70, math.nan], nan_ok=True)  # 7 of 10 IoU thresholds <= 0.8
    assert ap50 == pytest.approx([half, 100, math.nan], nan_ok=True)
    assert 100 * evaluation.stats[0] == pytest.approx(np.nanmean(ap))


def test_curves_are_those_of_the_evaluator(tmp_path: Path, figures: list[Any]):
    plot_precision_recall(evaluate(3), names(3), tmp_path / "pr.png")
    mean, classes = figures[0].axes
    assert len(mean.lines) == 10
    assert mean.lines[0].get_xdata() == pytest.approx(np.linspace(0, 1, 101))
    assert mean.lines[0].get_ydata() == pytest.approx(np.where(np.arange(101) <= 50, 1, 0.5))
    assert mean.lines[9].get_ydata() == pytest.approx(np.where(np.arange(101) <= 50, 0.5, 0))
    labels = [line.get_label() for line in mean.lines]
    assert labels[0] == "IoU 0.50: AP 75.2" and labels[9] == "IoU 0.95: AP 25.2"
    assert [line.get_label() for line in classes.lines] == ["class 1: 100.0", "class 0: 50.5"]
    with Image.open(tmp_path / "pr.png") as image:
        assert image.width > image.height > 400


def test_seven_of_many_classes_are_named(tmp_path: Path, figures: list[Any]):
    plot_precision_recall(evaluate(80), names(80), tmp_path / "pr.png")
    _, classes = figures[0].axes
    assert len(classes.lines) == 79  # class 2 has no objects
    labels = [text.get_text() for text in classes.get_legend().get_texts()]
    assert len(labels) == 7 and labels[-1] == "class 0: 50.5"


def bars(axes: Any) -> list[float]:
    """Widths of the bars of AP, from top to bottom."""
    (container,) = (c for c in axes.containers if c.get_label() == "AP")
    return [bar.get_width() for bar in container]


def ticks(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_yticklabels()]


def test_bars_are_sorted_and_named(tmp_path: Path, figures: list[Any]):
    plot_class_ap(evaluate(3), names(3), [2, 2, 0], tmp_path / "ap.png")
    (axes,) = figures[0].axes
    assert bars(axes) == pytest.approx([70, 100 * 51 / 101, math.nan], nan_ok=True)
    assert ticks(axes) == ["class 1  (2)", "class 0  (2)", "class 2  (0)"]
    assert [t.get_text() for t in axes.texts] == ["70.0 / 100.0", "50.5 / 50.5", "no objects"]
