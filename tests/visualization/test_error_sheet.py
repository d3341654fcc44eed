"""Error sheets: their images, the order of these, and what is drawn where."""

import json
from pathlib import Path

import pytest
from coco_sets import detection
from PIL import Image

from stageinteractor.data.coco_format import CocoSet, read_coco
from stageinteractor.errors import DataError
from stageinteractor.evaluation.error_types import ERROR_TYPES, classify_detections
from stageinteractor.visualization.error_sheet import (
    AFFECTED,
    CORRECT,
    ERROR,
    GROUND_TRUTH,
    HEAD,
    OTHER,
    SIDE,
    error_sheet,
    worst_images,
)

Color = tuple[int, int, int]
GRAY = (90, 90, 90)
CAPTION, MARGIN = 24, 12


@pytest.fixture
def coco_set(tmp_path: Path) -> CocoSet:
    """Images 1 to 4 of 200x100, gray; each has a cat on the left, and 4 a dog on the right too."""
    for number in range(1, 5):
        Image.new("RGB", (200, 100), GRAY).save(tmp_path / f"{number}.png")
    cats = [
        {"id": n, "image_id": n, "category_id": 7, "bbox": [10, 20, 60, 60]} for n in range(1, 5)
    ]
    content = {
        "images": [
            {"id": n, "file_name": f"{n}.png", "width": 200, "height": 100} for n in range(1, 5)
        ],
        "annotations": [
            *cats,
            {"id": 5, "image_id": 4, "category_id": 19, "bbox": [120, 20, 60, 60]},
        ],
        "categories": [{"id": 7, "name": "cat"}, {"id": 19, "name": "dog"}],
    }
    (tmp_path / "val.json").write_text(json.dumps(content))
    return read_coco(tmp_path / "val.json")


RESULTS = [
    detection(1, 19, [10, 20, 60, 60], 0.5),  # the cat, taken for a dog
    detection(2, 19, [10, 20, 60, 60], 0.8),
    detection(3, 7, [10, 20, 60, 60], 0.9),  # right
    detection(4, 19, [10, 20, 60, 60], 0.4),
    detection(4, 7, [120, 20, 60, 60], 0.7),  # two at once: 1.1 together
    detection(2, 7, [150, 5, 30, 20], 0.6),  # background
]


def colors(image: Image.Image) -> set[Color]:
    return {color for _, color in image.getcolors(1 << 24)}


def sides(sheet: Image.Image) -> tuple[Image.Image, Image.Image]:
    """The two drawings of the first image."""
    right, bottom = MARGIN + SIDE + 6, HEAD + SIDE // 2
    return (
        sheet.crop((MARGIN, HEAD, MARGIN + SIDE, bottom)),
        sheet.crop((right, HEAD, right + SIDE, bottom)),
    )


def test_images_with_the_highest_scoring_errors_come_first(coco_set: CocoSet):
    outcomes = classify_detections(coco_set, RESULTS)
    assert worst_images(outcomes, "Cls") == [4, 2, 1]
    assert worst_images(outcomes, "Bkg") == [2]
    assert worst_images(outcomes, "Dupe") == []


def test_cls_error_is_highlighted_on_both_sides(coco_set: CocoSet, tmp_path: Path):
    sheet = error_sheet(coco_set, tmp_path, classify_detections(coco_set, RESULTS[1:]), "Cls")
    left, right = sides(sheet)  # of image 4
    scale = SIDE / 200
    for x in (10, 120):  # the middle of the lower edges of both objects
        at = round((x + 30) * scale), round(80 * scale) - 1
        assert left.getpixel(at) == AFFECTED
        assert right.getpixel(at) == ERROR
    assert not colors(left) & {ERROR, CORRECT, OTHER, GROUND_TRUTH}
    assert not colors(right) & {AFFECTED, GROUND_TRUTH, CORRECT, OTHER}


def test_correct_and_other_errors_are_drawn_in_other_colors(coco_set: CocoSet, tmp_path: Path):
    results = [
        detection(4, 7, [10, 20, 60, 60], 0.9),
        detection(4, 7, [12, 20, 60, 60], 0.8),  # a duplicate
        detection(4, 7, [80, 0, 30, 15], 0.7),  # background
    ]
    outcomes = classify_detections(coco_set, results)
    left, right = sides(error_sheet(coco_set, tmp_path, outcomes, "Dupe"))
    assert {AFFECTED, GROUND_TRUTH} <= colors(left)
    assert {ERROR, CORRECT, OTHER} <= colors(right)
    left, right = sides(error_sheet(coco_set, tmp_path, outcomes, "Bkg"))
    assert GROUND_TRUTH in colors(left) and AFFECTED not in colors(left)
    assert {ERROR, CORRECT, OTHER} <= colors(right)


def test_missed_object_is_highlighted_on_the_left_only(coco_set: CocoSet, tmp_path: Path):
    left, right = sides(error_sheet(coco_set, tmp_path, classify_detections(coco_set, []), "Miss"))
    assert AFFECTED in colors(left)
    assert colors(right) == {GRAY}


@pytest.mark.parametrize("error_type", ["Dupe", "Loc", "Both"])
def test_no_sheet_without_errors_of_the_type(coco_set: CocoSet, tmp_path: Path, error_type: str):
    assert error_type in ERROR_TYPES
    assert (
        error_sheet(coco_set, tmp_path, classify_detections(coco_set, RESULTS), error_type) is None
    )


def test_missing_or_broken_image_is_named(coco_set: CocoSet, tmp_path: Path):
    outcomes = classify_detections(coco_set, RESULTS)
    (tmp_path / "2.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"2\.png \(image id 2\): cannot be read"):
        error_sheet(coco_set, tmp_path, outcomes, "Bkg")
    (tmp_path / "2.png").unlink()
    with pytest.raises(DataError, match=r"2\.png \(image id 2\): no such file"):
        error_sheet(coco_set, tmp_path, outcomes, "Bkg")
