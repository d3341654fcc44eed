"""Repaired files: what was changed, what is left, and that training takes them."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from stageinteractor.data.checks import (
    CheckedSet,
    check_content,
    check_dataset,
    read_set,
    repair,
    write_repaired,
)
from stageinteractor.data.coco_format import read_coco

Json = dict[str, Any]


class Repaired(NamedTuple):
    content: Json
    lines: list[str]
    checked: CheckedSet

    def box(self, annotation_id: int) -> list[float]:
        (found,) = (a for a in self.content["annotations"] if a["id"] == annotation_id)
        return found["bbox"]

    def ids(self, name: str) -> list[Any]:
        return [entry["id"] for entry in self.content[name]]


@pytest.fixture
def fix(write_json: Callable[..., Path], photos: Path) -> Callable[[Json], Repaired]:
    """Repair this content, check the result, and read it as training does."""

    def run(content: Json) -> Repaired:
        read, files = read_set(write_json(content), photos, progress=False)
        before = json.dumps(read)
        fixed, changes = repair(read, photos, files)
        assert json.dumps(read) == before
        assert bool(changes) == (json.dumps(fixed) != before)  # nothing is changed in silence
        checked = check_content(fixed, photos, files)
        left = {finding.kind for finding in checked.findings if finding.severity == "error"}
        assert left <= {"no_images", "no_annotations", "only_crowds"}  # the rest was dropped
        assert repair(fixed, photos, files)[1] == []
        coco_set = read_coco(write_json(fixed, "fixed.json"))
        assert len(coco_set.annotations) == len(fixed["annotations"])
        return Repaired(fixed, [change.line() for change in changes], checked)

    return run


def test_a_good_set_is_not_changed(content, fix):
    content["info"] = {"year": 2023}
    fixed = fix(content)
    assert fixed.lines == [] and fixed.content == content


def test_boxes_are_clipped_and_flipped_and_said_so(content, fix):
    content["annotations"][0] |= {"bbox": [50, 30, 20, 5], "area": 100}
    content["annotations"][1] |= {"bbox": [30, 20, -10, -5.5], "area": 50}
    fixed = fix(content)
    assert fixed.box(501) == [50, 30, 10, 5] and fixed.box(502) == [20, 14.5, 10, 5.5]
    assert fixed.lines == [
        "annotation id 501, image id 11 (a.png): clipped: [50, 30, 20, 5] is now [50, 30, 10, 5]",
        "annotation id 502, image id 11 (a.png): flipped: "
        "[30, 20, -10, -5.5] is now [20, 14.5, 10, 5.5]",
    ]


def test_the_area_follows_a_clipped_box(content, fix):
    content["annotations"][1] |= {"bbox": [0, 0, 90, 80], "area": 7200}
    assert fix(content).content["annotations"][1]["area"] == 60 * 40
    content["annotations"][1]["area"] = 700  # an outline's: it still fits
    assert fix(content).content["annotations"][1]["area"] == 700


@pytest.mark.parametrize(
    "box", [[1, 2, 3], None, [1, 2, math.nan, 4], [1, 2, 0, 4], [60, 2, 3, 4], [0, 0, -5, 4]]
)
def test_boxes_of_which_nothing_is_left_are_dropped(content, fix, box):
    content["annotations"][0]["bbox"] = box
    fixed = fix(content)
    assert fixed.ids("annotations") == [502, 503]
    (line,) = fixed.lines
    assert line.startswith("annotation id 501, image id 11 (a.png): dropped: box ")


def test_equal_boxes_are_kept_once(content, fix):
    content["annotations"].append(content["annotations"][0] | {"id": 504})
    fixed = fix(content)
    assert fixed.ids("annotations") == [501, 502, 503]
    assert "annotation id 504" in fixed.lines[0] and "annotation id 501" in fixed.lines[0]


def test_equal_boxes_are_kept_once_also_if_one_is_no_crowd_only_after_its_repair(content, fix):
    content["annotations"].append(content["annotations"][0] | {"id": 504, "iscrowd": -1})
    assert fix(content).ids("annotations") == [501, 502, 503]


def test_names_that_cannot_be_written_are_spelt_out(content, fix):
    content["categories"][0]["name"] = "ca\ud800r"
    fixed = fix(content)
    assert fixed.content["categories"][0]["name"] == r"ca\ud800r"
    assert fixed.lines == ["category id 19: named: now 'ca\\\\ud800r'"]


def test_annotations_get_ids_of_their_own(content, fix):
    content["annotations"][0]["id"] = 0
    content["annotations"][1]["id"] = 503
    content["annotations"].append(content["annotations"][0] | {"id": 7.5, "bbox": [1, 1, 5, 5]})
    content["annotations"].append({"image_id": 11, "category_id": 7, "bbox": [2, 2, 5, 5]})
    content["annotations"][3]["area"] = 25
    fixed = fix(content)
    assert fixed.ids("annotations") == [1, 503, 2, 3, 4]
    assert "annotation id 0, image id 11: renumbered: id is now 1" in fixed.lines
    assert "numbered: 1 annotations that had no id" in fixed.lines


def test_area_and_iscrowd_are_set(content, fix):
    del content["annotations"][0]["area"]
    content["annotations"][1] |= {"area": "2400", "iscrowd": "0"}
    content["annotations"][2] |= {"area": 5000, "iscrowd": "1"}
    fixed = fix(content)
    annotations = fixed.content["annotations"]
    assert [a["area"] for a in annotations] == [200, 2400, 12]
    assert [a.get("iscrowd") for a in annotations] == [None, 0, 1]
    assert "annotation id 502, image id 11: area set: '2400' is now 2400" in fixed.lines
    assert "annotation id 503, image id 12: iscrowd set: '1' is now 1" in fixed.lines


@pytest.mark.parametrize("area", [None, 0, 5000])
def test_an_area_that_cannot_be_is_set_and_said_so(content, fix, area):
    content["annotations"][0]["area"] = area
    fixed = fix(content)
    assert fixed.content["annotations"][0]["area"] == 200
    assert fixed.lines == [f"annotation id 501, image id 11: area set: {area} is now 200"]


def test_unknown_references_and_incomplete_entries_are_dropped(content, fix):
    content["annotations"][0]["category_id"] = 8
    content["annotations"][1]["image_id"] = [99]
    content["annotations"] += [7, {"id": 9}]
    content["images"] += [{"id": 14}, None]
    fixed = fix(content)
    assert fixed.ids("annotations") == [503] and fixed.ids("images") == [11, 12]
    assert "annotation id 501, image id 11: dropped: category_id 8 is not listed" in fixed.lines
    assert "number 3 of 'annotations': dropped: incomplete" in fixed.lines
    assert len(fixed.lines) == 6


def test_missing_and_unreadable_images_go_with_their_objects(content, photos, fix):
    (photos / "a.png").write_bytes(b"Dear Sir")
    fixed = fix(content)
    assert fixed.ids("images") == [12] and fixed.ids("annotations") == [503]
    (line,) = fixed.lines
    reason = "cannot be read: not an image of a known kind"
    assert line.startswith(f"image id 11 (a.png): dropped: {reason}; objects: 2")


def test_text_ids_of_images_stay_and_of_categories_are_renumbered(content, fix):
    content["images"][0]["id"] = "a"
    content["categories"][2]["id"] = "person"
    for annotation in content["annotations"][:2]:
        annotation["image_id"] = "a"
    content["annotations"][0]["category_id"] = "person"
    fixed = fix(content)
    assert fixed.ids("images") == ["a", 12] and fixed.ids("categories") == [19, 1000, 1]
    first = fixed.content["annotations"][0]
    assert (first["image_id"], first["category_id"]) == ("a", 1)
    assert "category 'person': renumbered: id 'person' is now 1" in fixed.lines


def test_an_image_listed_twice_with_one_id_is_kept_once(content, fix):
    content["images"].append(dict(content["images"][0]))
    fixed = fix(content)
    assert fixed.ids("images") == [11, 12] and len(fixed.content["annotations"]) == 3
    assert fixed.lines == ["image 'a.png': dropped: listed twice"]


def test_two_images_of_one_id_are_dropped_because_nobody_knows_whose_the_objects_are(content, fix):
    content["images"].append({"id": 14, "file_name": "a.png", "width": 60, "height": 40})
    content["images"][1]["id"] = 11
    content["annotations"][2]["image_id"] = 14
    content["annotations"][2]["bbox"] = [1, 1, 3, 4]
    fixed = fix(content)
    assert fixed.ids("images") == [14] and fixed.ids("annotations") == [503]
    assert "image id 11 (b.png): dropped: several images have its id" in fixed.lines
    assert "annotation id 501, image id 11: dropped: image id 11 stands for several" in fixed.lines


def test_objects_of_a_category_id_with_two_names_are_dropped(content, fix):
    content["categories"].append({"id": 19, "name": "bus"})
    fixed = fix(content)
    assert [(c["id"], c["name"]) for c in fixed.content["categories"]][:2] == [
        (19, "car"),
        (1, "bus"),
    ]
    assert fixed.ids("annotations") == [501, 502]


def test_entries_of_one_file_are_joined(content, fix):
    content["images"].append(content["images"][0] | {"id": 13})
    content["annotations"][0]["image_id"] = 13
    fixed = fix(content)
    assert fixed.ids("images") == [11, 12]
    assert [a["image_id"] for a in fixed.content["annotations"]] == [11, 11, 12]


def test_a_category_without_name_is_named(content, fix):
    del content["categories"][0]["name"]
    assert fix(content).content["categories"][0]["name"] == "category 19"


# Sizes


def save(path: Path, width: int, height: int, orientation: int = 1) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    Image.effect_noise((width, height), 50).save(path, exif=exif)


def test_a_missing_size_is_that_of_the_file(content, fix):
    del content["images"][0]["width"]
    content["images"][1]["height"] = "50"
    fixed = fix(content)
    assert [(i["width"], i["height"]) for i in fixed.content["images"]] == [(60, 40), (50, 50)]
    assert fixed.box(501) == [10, 5, 20, 10]
    assert "image id 11 (a.png): resized: size is now 60x40" in fixed.lines


def test_swapped_width_and_height_leave_the_boxes(content, fix):
    content["images"][0] |= {"width": 40, "height": 60}
    content["annotations"][1]["bbox"] = [0, 0, 40, 40]
    fixed = fix(content)
    assert (fixed.content["images"][0]["width"], fixed.box(501)) == (60, [10, 5, 20, 10])


def test_boxes_of_a_resized_copy_are_scaled(content, photos, fix):
    save(photos / "a.png", 30, 20)
    content["annotations"][0]["segmentation"] = [[10, 5, 30, 5, 30, 15]]
    fixed = fix(content)
    assert fixed.box(501) == [5, 2.5, 10, 5] and fixed.box(502) == [0, 0, 30, 20]
    first = fixed.content["annotations"][0]
    assert first["area"] == 50 and "segmentation" not in first
    assert (
        "image id 11 (a.png): resized: size 60x40 is now 30x20, 2 boxes scaled by 0.5"
        in fixed.lines
    )


def test_boxes_that_fit_both_sizes_are_scaled_too(content, fix):
    content["images"][0] |= {"width": 30, "height": 20}
    content["annotations"][1] |= {"bbox": [0, 0, 20, 10], "area": 200, "keypoints": [1, 1, 2]}
    content["annotations"][0]["bbox"] = [1, 2, 20, 10]
    fixed = fix(content)
    assert fixed.box(501) == [2, 4, 40, 20] and fixed.box(502) == [0, 0, 40, 20]
    second = fixed.content["annotations"][1]
    assert second["area"] == 800 and "keypoints" not in second


def test_boxes_that_fit_only_the_file_are_not_scaled(content, fix):
    content["images"][0] |= {"width": 30, "height": 20}
    assert fix(content).box(502) == [0, 0, 60, 40]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_of_the_stored_image_are_turned_with_it(content, photos, fix, orientation):
    save(photos / "a.png", 60, 40, orientation)
    fixed = fix(content)
    assert (fixed.content["images"][0]["width"], fixed.content["images"][0]["height"]) == (40, 60)
    x, y, width, height = fixed.box(501)  # was [10, 5, 20, 10]
    assert (width, height) == (10, 20)
    assert (x, y) == {5: (5, 10), 6: (25, 10), 7: (25, 30), 8: (5, 30)}[orientation]
    assert [finding.kind for finding in fixed.checked.findings] == ["exif"]


def test_boxes_that_fit_only_the_turned_image_are_not_turned(content, photos, fix):
    save(photos / "a.png", 60, 40, 6)
    content["annotations"][1] |= {"bbox": [5, 10, 30, 50], "area": 1500}
    assert fix(content).box(502) == [5, 10, 30, 50]


# The form of all boxes


@pytest.fixture
def many(content: Json) -> tuple[Json, np.ndarray]:
    """A set of 30 boxes in a.png, and these boxes as (x, y, w, h)."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(5, 20, (30, 2))
    corners = rng.integers(0, [40, 20], (30, 2))
    boxes = np.concatenate([corners, sizes], 1)
    content["annotations"] = [
        {"id": n, "image_id": 11, "category_id": 7, "bbox": box}
        for n, box in enumerate(boxes.tolist(), start=1)
    ]
    return content, boxes


def boxes_of(fixed: Repaired) -> np.ndarray:
    return np.array([annotation["bbox"] for annotation in fixed.content["annotations"]])


def test_corners_are_rewritten(many, fix):
    content, boxes = many
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        annotation["bbox"] = [x, y, x + width, y + height]
    fixed = fix(content)
    np.testing.assert_array_equal(boxes_of(fixed), boxes)
    assert "rewritten: 30 boxes were x1, y1, x2, y2 and are now x, y, w, h in pixels" in fixed.lines


@pytest.mark.parametrize("has_size", [True, False])
def test_relative_boxes_are_rewritten(many, fix, has_size):
    content, boxes = many
    for annotation in content["annotations"]:
        annotation["bbox"] = (np.array(annotation["bbox"]) / [60, 40, 60, 40]).tolist()
        annotation["area"] = 0.01
    content["annotations"].append(
        {"id": 31, "image_id": 12, "category_id": 7, "bbox": [0.1, 0.2, 0.5, 0.5]}
    )
    if not has_size:
        del content["images"][1]["width"]
    fixed = fix(content)
    np.testing.assert_allclose(boxes_of(fixed)[:30], boxes, atol=1e-3)
    assert fixed.box(31) == [5, 10, 25, 25]
    areas = [annotation["area"] for annotation in fixed.content["annotations"]]
    np.testing.assert_allclose(areas, boxes_of(fixed)[:, 2:].prod(1))


# Files


def test_the_old_file_stays_and_every_change_is_listed(content, photos, write_json):
    content["annotations"][0]["bbox"] = [50, 30, 20, 5]
    path = write_json(content)
    before = path.read_bytes()
    read, files = read_set(path, photos, progress=False)
    new, told = write_repaired(path, *repair(read, photos, files))
    assert path.read_bytes() == before
    assert (new.name, told.name) == ("annotations.fixed.json", "annotations.fixed.txt")
    assert check_dataset(new, photos, progress=False).findings == []
    assert told.read_text().count("\n") == 1 and "clipped" in told.read_text()


def test_whatever_is_broken_is_found_and_repaired(content, fix, check, write_json):
    """Break fields at random: what passes the check can be trained on, and repaired files pass."""
    rng = np.random.default_rng(1)
    values = [None, "x", -1, 0, 7, 11, 1e9, math.nan, True, [1], {}, [1, 2, 3, 4], [50, 30, 90, 90]]
    good = copy.deepcopy(content)
    for _ in range(300):
        broken = copy.deepcopy(good)
        for name in ("images", "annotations", "annotations", "categories"):
            entry = broken[name][int(rng.integers(0, 2))]
            field = str(rng.choice(sorted(entry)))
            if rng.random() < 0.2:
                del entry[field]
            else:
                entry[field] = values[int(rng.integers(len(values)))]
        fix(broken)
        if check(broken).num_errors == 0:
            read = read_coco(write_json(broken))
            assert len(read.annotations) == len(broken["annotations"])


# What other tools write


def test_whole_floats_become_integers(content, fix):
    content["images"][0]["id"] = 11.0
    content["annotations"][0] |= {"id": 501.0, "image_id": 11.0, "category_id": 7.0}
    fixed = fix(content)
    assert fixed.lines == []
    assert '"id": 501, "image_id": 11, "category_id": 7' in json.dumps(fixed.content)


def test_boxes_are_taken_from_segmentations(content, fix):
    del content["annotations"][0]["bbox"]
    content["annotations"][0]["segmentation"] = [[10, 5, 30, 5, 30, 15]]
    fixed = fix(content)
    assert fixed.box(501) == [10, 5, 20, 10]
    assert fixed.lines == ["box set: that of the segmentation, for 1 objects that had none"]


def in_a_folder(content: Json, photos: Path) -> None:
    """Move a.png to sub/a.png, which the set calls by its name on Windows."""
    (photos / "sub").mkdir()
    (photos / "a.png").rename(photos / "sub" / "a.png")
    content["images"][0]["file_name"] = "sub\\a.png"


def test_backslashes_become_slashes_where_there_is_such_a_file(content, photos, fix):
    in_a_folder(content, photos)
    fixed = fix(content)
    assert fixed.content["images"][0]["file_name"] == "sub/a.png"
    assert fixed.ids("images") == [11, 12] and fixed.ids("annotations") == [501, 502, 503]
    assert fixed.lines == ["image id 11 (sub\\a.png): renamed: file_name is now sub/a.png"]


@pytest.mark.parametrize(
    "name", ["C:\\data\\sub\\a.png", "C:/data/sub/a.png", "\\\\host\\share\\sub\\a.png"]
)
def test_a_windows_path_becomes_the_ending_that_exists(content, photos, fix, name):
    in_a_folder(content, photos)
    content["images"][0]["file_name"] = name
    assert fix(content).content["images"][0]["file_name"] == "sub/a.png"


def test_backslashes_are_reported_as_what_they_are(content, photos, write_json):
    in_a_folder(content, photos)
    (finding,) = check_dataset(write_json(content), photos, progress=False).findings
    assert (finding.kind, finding.severity) == ("backslashes", "error")
    assert "sub/a.png" in finding.line()


def test_both_spellings_of_a_file_are_joined(content, photos, fix):
    in_a_folder(content, photos)
    content["images"].append(content["images"][0] | {"id": 13, "file_name": "sub/a.png"})
    content["annotations"][0]["image_id"] = 13
    fixed = fix(content)
    assert fixed.ids("images") == [11, 12]
    assert [a["image_id"] for a in fixed.content["annotations"]] == [11, 11, 12]


def test_a_file_whose_name_has_a_backslash_keeps_it(content, photos, fix):
    (photos / "a.png").rename(photos / "sub\\a.png")
    content["images"][0]["file_name"] = "sub\\a.png"
    assert fix(content).lines == []


def test_a_name_that_leads_nowhere_with_slashes_either_is_dropped(content, photos, fix):
    in_a_folder(content, photos)
    content["images"][0]["file_name"] = "other\\a.png"
    fixed = fix(content)
    assert fixed.ids("images") == [12] and "no such file" in fixed.lines[0]
