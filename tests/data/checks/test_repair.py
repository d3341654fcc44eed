"""Repaired files: what is changed, what is left, and that nothing is changed silently."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from stageinteractor.data.checks import check_content, check_dataset, read_set, repair
from stageinteractor.data.checks.repair import write_repaired

Json = dict[str, Any]


class Repaired(NamedTuple):
    content: Json
    lines: list[str]
    errors: set[str]  # kinds that are left

    def first(self) -> Json:
        return self.content["annotations"][0]

    def size(self) -> tuple[float, float]:
        return self.content["images"][0]["width"], self.content["images"][0]["height"]


@pytest.fixture
def fix(write_json: Callable[..., Path], photos: Path) -> Callable[[Json], Repaired]:
    """Repair this content and check the result."""

    def run(content: Json) -> Repaired:
        old, files = read_set(write_json(content), photos, progress=False)
        before = json.dumps(old)
        fixed, changes = repair(old, photos, files)
        assert json.dumps(old) == before
        assert bool(changes) == (json.dumps(fixed) != before)  # nothing is changed silently
        assert repair(fixed, photos, files)[1] == []
        findings = check_content(fixed, photos, files).findings
        errors = {finding.kind for finding in findings if finding.severity == "error"}
        return Repaired(fixed, [change.line() for change in changes], errors)

    return run


# Annotations


def test_boxes_over_the_edge_are_clipped(content, fix):
    content["annotations"][0] |= {"bbox": [50, 30, 20, 5], "area": 100}
    fixed = fix(content)
    assert fixed.first()["bbox"] == [50, 30, 10, 5]
    assert fixed.lines[0] == (
        "annotation id 501, image id 11 (a.png): clipped: [50, 30, 20, 5] is now [50, 30, 10, 5]"
    )


@pytest.mark.parametrize("area", ["absent", None, "200", 0, -1, 5000])
def test_missing_and_impossible_areas_are_set(content, fix, area):
    content["annotations"][0]["area"] = area
    if area == "absent":
        del content["annotations"][0]["area"]
    fixed = fix(content)
    assert fixed.first()["area"] == 200
    (line,) = fixed.lines
    assert line.startswith("annotation id 501, image id 11 (a.png): area set: ")


@pytest.mark.parametrize(("flag", "expected"), [(None, 0), ("0", 0), ("1", 1)])
def test_crowd_flags_become_numbers(content, fix, flag, expected):
    content["annotations"][0]["iscrowd"] = flag
    fixed = fix(content)
    assert fixed.first()["iscrowd"] == expected
    (line,) = fixed.lines
    assert line.startswith("annotation id 501, image id 11 (a.png): iscrowd set: ")


def test_annotations_get_unique_ids(content, fix):
    content["annotations"][0]["id"] = 0
    content["annotations"][1]["id"] = 503
    box = {"image_id": 11, "category_id": 7, "bbox": [1, 1, 5, 5], "area": 25}
    content["annotations"] += [box | {"id": 7.5}, box | {"bbox": [2, 2, 5, 5]}]
    fixed = fix(content)
    ids = [annotation["id"] for annotation in fixed.content["annotations"]]
    assert ids == [1, 503, 2, 3, 4] and not fixed.errors
    assert "number 0 of 'annotations', image id 11: renumbered: id 0 is now 1" in fixed.lines


def test_boxes_come_from_segmentations(content, fix):
    del content["annotations"][0]["bbox"]
    content["annotations"][0]["segmentation"] = [[10, 5, 30, 5, 30, 15]]
    fixed = fix(content)
    assert fixed.first()["bbox"] == [10, 5, 20, 10]
    (line,) = fixed.lines
    assert line.startswith("annotation id 501, image id 11: box set: ")


# Images


def save(path: Path, width: int, height: int, orientation: int = 1) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    Image.effect_noise((width, height), 50).save(path, exif=exif)


@pytest.mark.parametrize("height", ["absent", None, "40", 0])
def test_a_missing_size_is_that_of_the_file(content, fix, height):
    content["images"][0]["height"] = height
    if height == "absent":
        del content["images"][0]["height"]
    fixed = fix(content)
    assert fixed.size() == (60, 40) and not fixed.errors
    assert fixed.lines == ["image id 11 (a.png): resized: size is now 60x40"]


def test_swapped_width_and_height_are_corrected(content, fix):
    content["images"][0] |= {"width": 40, "height": 60}
    content["annotations"][1] |= {"bbox": [0, 0, 40, 40], "area": 1600}  # fits both
    fixed = fix(content)
    assert fixed.size() == (60, 40) and not fixed.errors


def test_a_size_that_only_the_boxes_contradict_is_corrected(content, fix):
    content["images"][0] |= {"width": 30, "height": 20}
    fixed = fix(content)
    assert fixed.size() == (60, 40) and fixed.content["annotations"][1]["bbox"] == [0, 0, 60, 40]


@pytest.mark.parametrize(
    ("size", "orientation", "kind"),
    [((30, 20), 1, "other_size"), ((60, 40), 6, "exif_size")],
    ids=["resized copy", "EXIF"],
)
def test_sizes_stay_if_boxes_may_have_to_move(content, photos, fix, size, orientation, kind):
    save(photos / "a.png", *size, orientation)
    fixed = fix(content)
    assert fixed.lines == [] and fixed.errors == {kind}


@pytest.mark.parametrize(
    "name",
    ["sub\\a.png", "C:\\data\\sub\\a.png", "C:/data/sub/a.png", "\\\\host\\share\\sub\\a.png"],
)
def test_windows_paths_become_the_ending_that_exists(content, photos, fix, check, name):
    (photos / "sub").mkdir()
    (photos / "a.png").rename(photos / "sub" / "a.png")
    content["images"][0]["file_name"] = name
    (finding,) = check(content).findings
    assert (finding.kind, finding.severity) == ("backslashes", "error")
    assert "sub/a.png" in finding.line()
    fixed = fix(content)
    assert fixed.content["images"][0]["file_name"] == "sub/a.png" and not fixed.errors
    assert "renamed: file_name is now sub/a.png" in fixed.lines[0]


# What is left


@pytest.mark.parametrize(
    ("name", "fields", "kind"),
    [
        ("annotations", {"bbox": [1, 2, 3]}, "box_not_numbers"),
        ("annotations", {"bbox": [1, 2, math.nan, 4]}, "box_not_numbers"),
        ("annotations", {"bbox": [1, 2, 0, 4]}, "box_empty"),
        ("annotations", {"bbox": [30, 20, -10, 5]}, "box_negative"),
        ("annotations", {"bbox": [60, 2, 3, 4], "area": 12}, "box_outside"),
        ("annotations", {"category_id": 8}, "unknown_category"),
        ("annotations", {"image_id": [99]}, "unknown_image"),
        ("annotations", {"iscrowd": 7}, "invalid_iscrowd"),
        ("images", {"id": 12}, "repeated_image_id"),
        ("images", {"file_name": "nowhere\\a.png"}, "missing_image"),
        ("categories", {"id": 7}, "repeated_category_id"),
        ("categories", {"name": "ca\ud800r"}, "invalid_name"),
    ],
)
def test_what_only_the_user_can_know_is_left(content, fix, name, fields, kind):
    content[name][0] |= fields
    fixed = fix(content)
    assert fixed.lines == [] and kind in fixed.errors


# Files


def test_the_old_file_stays_and_every_change_is_listed(content, photos, write_json):
    content["annotations"][0]["bbox"] = [50, 30, 20, 5]
    path = write_json(content)
    before = path.read_bytes()
    old, files = read_set(path, photos, progress=False)
    new, log = write_repaired(path, *repair(old, photos, files))
    assert path.read_bytes() == before
    assert (new.name, log.name) == ("annotations.fixed.json", "annotations.fixed.txt")
    assert check_dataset(new, photos, progress=False).num_errors == 0
    assert "clipped" in log.read_text()


def test_corners_are_not_clipped_into_valid_boxes(content, fix):
    content["annotations"] = [
        {"id": n, "image_id": 11, "category_id": 7, "bbox": [25 + n, 20, 45 + n, 35], "area": 300}
        for n in range(1, 9)
    ]
    fixed = fix(content)
    assert fixed.lines == []
    assert fixed.errors == {"looks_xyxy"}
