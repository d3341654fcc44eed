"""Sheets of ground truth and detections."""

from pathlib import Path

import numpy as np
from PIL import Image

from stageinteractor.data.coco_format import CocoSet
from stageinteractor.visualization import detections
from stageinteractor.visualization.box_drawing import class_color
from stageinteractor.visualization.detections import WIDTH, comparison_grid, ground_truth_sheet


def has_color(image: Image.Image, color: tuple[int, int, int]) -> bool:
    return bool((np.asarray(image.convert("RGB")) == color).all(-1).any())


def test_comparison_has_ground_truth_left_and_detections_right(
    coco_set: CocoSet, results: list[dict], tmp_path: Path
):
    grid = comparison_grid(coco_set, tmp_path / "photos", results, count=1, pairs=1)
    assert grid.size == (2 * WIDTH + 6, 24 + WIDTH * 48 // 64)
    left, right = grid.crop((0, 24, WIDTH, 264)), grid.crop((WIDTH + 6, 24, 2 * WIDTH + 6, 264))
    person, car = class_color(0), class_color(1)
    assert has_color(left, person) and not has_color(left, car)
    assert has_color(right, car) and not has_color(right, person)  # 0.1 is below the threshold
    everything = comparison_grid(
        coco_set, tmp_path / "photos", results, min_score=0.05, count=1, pairs=1
    )
    assert has_color(everything.crop((WIDTH + 6, 24, *everything.size)), person)


def test_ground_truth_sheet_shows_the_first_images(coco_set: CocoSet, tmp_path: Path):
    sheet = ground_truth_sheet(coco_set, tmp_path / "photos", count=2, columns=6)
    assert sheet.size == (2 * WIDTH + 6, WIDTH * 48 // 64)
    scale = WIDTH / 64
    assert sheet.getpixel((round(20 * scale), round(36 * scale))) == class_color(0)
    assert sheet.getpixel((WIDTH + 6 + 10, 10)) == (15, 15, 15)  # the second image has no box


def test_crowd_is_labelled(coco_set: CocoSet, results: list[dict], tmp_path: Path, monkeypatch):
    texts, draw = [], detections.draw_boxes

    def keep_texts(image, boxes, *args):
        texts.append([box.text for box in boxes])
        return draw(image, boxes, *args)

    monkeypatch.setattr(detections, "draw_boxes", keep_texts)
    coco_set.annotations[0]["iscrowd"] = 1
    comparison_grid(coco_set, tmp_path / "photos", results, count=1, pairs=1)
    assert texts[0] == ["crowd"]
    assert texts[1] and "crowd" not in texts[1][0]
