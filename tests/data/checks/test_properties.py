"""Any annotation file is checked, reported with places, and repaired without new errors."""

import json
from pathlib import Path

import numpy as np
import pytest
from annotation_strategies import FILES, Json, files, junk, valid_files
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
    """The checked set, None if the file cannot be used at all."""
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


def assert_located(finding: Finding) -> None:
    """A finding is a line that leads to its location."""
    line = finding.line()
    line.encode()
    assert len(line.splitlines()) == 1 and KINDS[finding.kind].advice in line
    location = finding.location
    if finding.kind in OF_THE_SET:
        return
    assert str(location)
    if finding.kind.startswith("box_") or finding.kind in (
        "same_box",
        "invalid_area",
        "large_area",
    ):
        assert location.image_id is not None and location.file_name is not None
    if "image" in finding.kind and finding.kind not in ("repeated_image_id", "unknown_image"):
        assert location.file_name is not None


@given(content=valid_files())
def test_nothing_is_wrong_with_a_good_file(folder: Path, content: Json):
    checked = check(folder, content)
    assert checked is not None
    fine = {"no_annotations", "only_crowds", "unused_category", "same_box"}
    assert {finding.kind for finding in checked.findings} <= fine


@given(content=files())
@examples(2)
def test_every_finding_is_a_line_with_its_place(folder: Path, content: Json):
    checked = check(folder, content)
    if checked is None:
        return
    for finding in checked.findings:
        assert_located(finding)
    assert len(list(details(checked, None))) >= len(checked.findings)
    summary(checked).encode()
    report = json.loads(json.dumps(as_json(checked, "set.json", str(folder))))
    assert len(report["findings"]) == len(checked.findings)


@given(content=files())
@examples(2)
def test_what_training_refuses_or_leaves_out_is_an_error(folder: Path, content: Json):
    checked, coco_set = check(folder, content), read(folder, content)
    if checked is not None and checked.num_errors == 0:
        assert coco_set is not None, "the check reports nothing"
        assert len(coco_set.annotations) == len(content["annotations"])
        assert any(not each["iscrowd"] for each in coco_set.annotations), "nothing to train on"


@given(content=files())
@examples(2)
def test_a_repair_adds_no_errors_and_is_done_once(folder: Path, content: Json):
    try:
        old, images = read_set(write(folder, content), folder, progress=False)
    except DataError:
        return
    before = json.dumps(old)
    fixed, changes = repair(old, folder, images)
    assert json.dumps(old) == before
    kinds = [
        {f.kind for f in check_content(each, folder, images).findings if f.severity == "error"}
        for each in (old, fixed)
    ]
    new = {kind for kind in kinds[1] - kinds[0] if not kind.startswith(("box_", "looks_"))}
    assert not new  # boxes are checked only once the size of their image is known
    assert repair(fixed, folder, images)[1] == []
    write_repaired(folder / "set.json", fixed, changes)
    lines = (folder / "set.fixed.txt").read_text().splitlines()
    assert len(lines) == len(changes)


@given(content=junk)
def test_any_json_is_refused_before_it_is_checked(folder: Path, content: object):
    assert check(folder, content) is None
    count_fault("bad input")


@given(content=valid_files(), data=st.data())
def test_the_order_of_entries_does_not_matter(folder: Path, content: Json, data: st.DataObject):
    moved = {name: data.draw(st.permutations(listed)) for name, listed in content.items()}
    after, before = check(folder, moved), check(folder, content)
    assert after is not None and before is not None
    assert after.class_counts == before.class_counts
    assert sorted(after.box_sizes) == sorted(before.box_sizes)
    kinds = [sorted(finding.kind for finding in checked.findings) for checked in (after, before)]
    assert kinds[0] == kinds[1]
