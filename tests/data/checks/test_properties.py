"""Whatever is in an annotation file: it is found, told in a line, and repaired or left as said."""

import json
from pathlib import Path

import numpy as np
import pytest
from annotation_strategies import FILES, Json, files, good_files, junk
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from strategies import examples
from tally import count_fault

from stageinteractor.data.checks import (
    KINDS,
    CheckedSet,
    Finding,
    check_content,
    check_dataset,
    read_set,
    repair,
    write_repaired,
)
from stageinteractor.data.checks.report import as_json, details, summary
from stageinteractor.data.coco_format import CocoSet, read_coco
from stageinteractor.errors import DataError

OF_THE_SET = {"no_images", "no_annotations", "no_categories", "looks_xyxy", "looks_relative"} | {
    "only_crowds"
}
UP_TO_THE_USER = {"crowded", "exif", "unused_category", "repeated_name", "text_id"}
ALL_DROPPED = {"no_images", "no_annotations", "no_categories", "only_crowds"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The images of the drawn sets, and where the sets are written."""
    folder = tmp_path_factory.mktemp("set")
    for name, (width, height) in FILES.items():
        noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / name)
    return folder


def write(folder: Path, content: object, name: str = "set.json") -> Path:
    (folder / name).write_text(json.dumps(content))
    return folder / name


def check(folder: Path, content: object) -> CheckedSet | None:
    """What is found, None if the file cannot be used at all."""
    try:
        return check_dataset(write(folder, content), folder, progress=False)
    except DataError as error:
        assert str(folder) in str(error)
        return None


def read(folder: Path, content: object) -> CocoSet | None:
    """The set as training takes it, None if it is refused."""
    try:
        return read_coco(write(folder, content))
    except DataError:
        return None


def assert_told(finding: Finding) -> None:
    """A finding is a line that leads to its place."""
    line = finding.line()
    line.encode()
    assert len(line.splitlines()) == 1 and KINDS[finding.kind].advice in line
    place = finding.place
    if finding.kind in OF_THE_SET:
        return
    assert str(place), "nobody can find it"
    if finding.kind.startswith("box_") or finding.kind in ("same_box", "odd_area", "large_area"):
        assert place.image_id is not None and place.file_name is not None
    if "image" in finding.kind and finding.kind not in ("repeated_image_id", "unknown_image"):
        assert place.file_name is not None


@given(content=good_files())
def test_nothing_is_wrong_with_a_good_file(folder: Path, content: Json):
    checked = check(folder, content)
    assert checked is not None
    fine = {"no_annotations", "only_crowds", "unused_category", "same_box"}
    assert {finding.kind for finding in checked.findings} <= fine


@given(content=files())
@examples(2)
def test_everything_found_is_told_in_a_line_with_its_place(folder: Path, content: Json):
    checked = check(folder, content)
    if checked is None:
        return
    for finding in checked.findings:
        assert_told(finding)
    assert len(list(details(checked, None))) >= len(checked.findings)
    summary(checked).encode()
    told = json.loads(json.dumps(as_json(checked, "set.json", str(folder))))
    assert len(told["findings"]) == len(checked.findings)


@given(content=files())
@examples(2)
def test_what_training_refuses_or_leaves_out_is_an_error(folder: Path, content: Json):
    checked, found = check(folder, content), read(folder, content)
    if checked is not None and checked.num_errors == 0:
        assert found is not None, "the check finds nothing"
        assert len(found.annotations) == len(content["annotations"])
        assert any(not each["iscrowd"] for each in found.annotations), "nothing to train on"


@given(content=files())
@examples(2)
def test_a_repaired_file_can_be_trained_on_and_is_not_repaired_twice(folder: Path, content: Json):
    try:
        old, images = read_set(write(folder, content), folder, progress=False)
    except DataError:
        return
    before = json.dumps(old)
    fixed, changes = repair(old, folder, images)
    assert json.dumps(old) == before
    checked = check_content(fixed, folder, images)
    left = {finding.kind for finding in checked.findings}
    if fixed["annotations"] and all(max(entry["bbox"]) <= 1 for entry in fixed["annotations"]):
        return  # what was dropped has left nothing but boxes that may be shares of the image
    assert left <= UP_TO_THE_USER | ALL_DROPPED
    assert repair(fixed, folder, images)[1] == []
    write_repaired(folder / "set.json", fixed, changes)
    lines = (folder / "set.fixed.txt").read_text().splitlines()
    assert len(lines) == len(changes)
    if fixed["categories"]:
        assert len(read_coco(folder / "set.fixed.json").annotations) == len(fixed["annotations"])


@given(
    left=st.integers(-70, 70),
    top=st.integers(-50, 50),
    width=st.integers(-80, 80),
    height=st.integers(-80, 80),
)
def test_what_a_box_shares_with_its_image_is_kept(
    folder: Path, left: int, top: int, width: int, height: int
):
    image = {"id": 1, "file_name": "a.png", "width": 60, "height": 40}
    one = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [left, top, width, height]}
    content = {"images": [image], "annotations": [one], "categories": [{"id": 1, "name": "x"}]}
    old, images = read_set(write(folder, content), folder, progress=False)
    fixed, _ = repair(old, folder, images)
    x1, x2 = max(min(left, left + width), 0), min(max(left, left + width), 60)
    y1, y2 = max(min(top, top + height), 0), min(max(top, top + height), 40)
    found = [annotation["bbox"] for annotation in fixed["annotations"]]
    if x1 >= x2 or y1 >= y2 or 0 in (width, height):
        assert found == []
        count_fault("bad input")
    else:
        (box,) = found
        # a pixel over the edge is left alone
        assert all(abs(a - b) <= 2 for a, b in zip(box, [x1, y1, x2 - x1, y2 - y1], strict=True))


@given(content=junk)
def test_any_json_is_refused_before_it_is_checked(folder: Path, content: object):
    assert check(folder, content) is None
    count_fault("bad input")


@given(content=good_files(), data=st.data())
def test_the_order_of_entries_does_not_matter(folder: Path, content: Json, data: st.DataObject):
    moved = {name: data.draw(st.permutations(listed)) for name, listed in content.items()}
    found, before = check(folder, moved), check(folder, content)
    assert found is not None and before is not None
    assert found.class_counts == before.class_counts
    assert sorted(found.box_sizes) == sorted(before.box_sizes)
    kinds = [sorted(finding.kind for finding in checked.findings) for checked in (found, before)]
    assert kinds[0] == kinds[1]
