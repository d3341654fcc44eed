"""Boxes in the image a.png of 60x40 pixels, areas and crowd flags."""

import math

import numpy as np
import pytest

from stageinteractor.data.checks.annotations import box_kind
from stageinteractor.data.checks.remarks import guess_box_format


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ([1, 2, 3], "box_not_numbers"),
        (None, "box_not_numbers"),
        ([1, 2, "3", 4], "box_not_numbers"),
        ([1, 2, math.nan, 4], "box_not_numbers"),
        ([1, 2, 0, 4], "box_empty"),
        ([30, 20, -10, 5], "box_negative"),
        ([30, 20, -10, 0], "box_negative"),
        ([60, 2, 3, 4], "box_outside"),
        ([-9, -9, 5, 5], "box_outside"),
        ([50, 30, 20, 5], "box_across"),
        ([-1.5, 2, 20, 5], "box_across"),
        ([50, 2, 11.5, 5], "box_across"),
    ],
)
def test_unusable_boxes_are_named_with_their_image(content, only, box, kind):
    content["annotations"][0] |= {"bbox": box, "area": 1}
    finding = only(content)
    assert finding.kind == kind
    assert finding.severity == ("warning" if kind == "box_across" else "error")
    assert finding.line().startswith("annotation id 501, image id 11 (a.png): box ")
    assert "in an image of 60x40" in finding.line()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "3", [3], 10**400])
@pytest.mark.parametrize("position", range(4))
def test_each_value_of_a_box_must_be_finite(value, position):
    box = [1, 2, 3, 4]
    box[position] = value
    assert box_kind(box, 60, 40) == "box_not_numbers"


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ((10.5, 5.25, 0.01, 0.01), None),
        ([-5, -5, 6, 6], "box_across"),  # one pixel of it is inside
        ([59, 39, 100, 100], "box_across"),
        ([1, 2, 1e-200, 1e-200], "box_empty"),  # its area underflows
        ([1, 40, 3, 4], "box_outside"),
        ([-3, 2, 3, 4], "box_outside"),
        ([1, -4, 3, 4], "box_outside"),
    ],
)
def test_boxes_at_the_limits(box, kind):
    assert box_kind(box, 60, 40) == kind


def test_a_duplicate_box_is_a_warning_that_names_both(content, only):
    content["annotations"].append(content["annotations"][0] | {"id": 504})
    finding = only(content)
    assert (finding.kind, finding.severity) == ("same_box", "warning")
    assert finding.location.annotation_id == 504 and "annotation id 501" in finding.problem


@pytest.mark.parametrize(
    ("area", "kind"),
    [(value, "invalid_area") for value in ("200", None, math.nan, math.inf, True)]
    + [(value, "zero_area") for value in (-1, 0)],
)
def test_impossible_areas_are_errors(content, only, area, kind):
    content["annotations"][0]["area"] = area
    finding = only(content)
    assert (finding.kind, finding.severity) == (kind, "error")


def test_missing_and_too_large_areas_are_warnings(content, check):
    del content["annotations"][0]["area"]
    content["annotations"][1]["area"] = 60 * 40 * 2
    findings = {f.kind: (f.severity, f.location.annotation_id) for f in check(content).findings}
    assert findings == {"no_area": ("warning", 501), "large_area": ("warning", 502)}


def test_the_area_of_an_outline_may_be_smaller_than_its_box(content, check):
    content["annotations"][0]["area"] = 7.5
    assert check(content).findings == []


@pytest.mark.parametrize(
    ("flag", "fine"), [(0, True), (1, True), (False, True), ("0", False), (2, False)]
)
def test_iscrowd_is_0_or_1(content, check, flag, fine):
    content["annotations"][0]["iscrowd"] = flag
    assert [f.kind for f in check(content).findings] == ([] if fine else ["invalid_iscrowd"])


def test_more_objects_than_queries_is_a_warning(content, only):
    finding = only(content, num_queries=1)
    assert (finding.kind, finding.severity) == ("crowded", "warning")
    assert finding.line().startswith("image id 11 (a.png): 2 objects, 1 queries: raise model.")


# The format of all boxes


def random_boxes(count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """(x1, y1, x2, y2) in images of 640x480: small and large ones, anywhere."""
    rng = np.random.default_rng(0)
    sizes = rng.uniform(8, 300, (count, 2))
    corners = rng.uniform(0, 1, (count, 2)) * (np.array([640, 480]) - sizes)
    return corners, corners + sizes


def format_of(boxes: np.ndarray) -> str | None:
    return guess_box_format((box, 640, 480) for box in boxes.tolist())


def test_box_formats_are_recognised():
    low, high = random_boxes()
    size = np.array([640, 480])
    assert format_of(np.concatenate([low, high - low], 1)) is None
    assert format_of(np.concatenate([low, high], 1)) == "xyxy"
    assert format_of(np.concatenate([low / size, (high - low) / size], 1)) == "relative"
    assert format_of(np.zeros((0, 4))) is None


def test_a_set_of_corners_is_one_error_before_the_boxes(content, check):
    content["annotations"] = [
        {"id": n, "image_id": 11, "category_id": 7, "bbox": [25 + n, 20, 45 + n, 35], "area": 300}
        for n in range(1, 9)
    ]
    content["categories"] = content["categories"][2:]
    findings = check(content).findings
    assert findings[0].kind == "looks_xyxy" and "x1, y1, x2, y2" in findings[0].line()
    assert {finding.kind for finding in findings[1:]} == {"box_across"}


def test_boxes_of_whole_images_a_little_over_the_edge_are_no_corners():
    """They fit as corners, too: [2, 2, 128, 128] in images of 128 x 128."""
    assert guess_box_format(([2, 2, 128, 128], 128, 128) for _ in range(50)) is None
