"""Whatever an annotation file holds: it can be trained on and measured, or a DataError says why."""

import json
import math
import warnings
from pathlib import Path

import pytest
from annotation_strategies import Json, files, junk, valid_files
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples
from tally import count_fault

from stageinteractor.data.coco_format import CocoSet, read_coco
from stageinteractor.data.registration import to_records
from stageinteractor.errors import DataError
from stageinteractor.evaluation.coco import coco_api, evaluate_boxes


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """Where every example is written."""
    return tmp_path_factory.mktemp("annotations") / "set.json"


def read(file: Path, content: object) -> CocoSet | None:
    """Write and read; None if it is refused in one line that names the file."""
    file.write_text(json.dumps(content))
    try:
        return read_coco(file)
    except DataError as error:
        assert str(file) in str(error) and len(str(error).splitlines()) == 1
        str(error).encode()  # can be printed
        return None


def assert_usable(coco_set: CocoSet) -> None:
    """Every number is one, every id leads somewhere."""
    sizes = {image["id"]: (image["width"], image["height"]) for image in coco_set.images}
    assert len(sizes) == len(coco_set.images)
    assert all(0 < side < math.inf for size in sizes.values() for side in size)
    assert len({entry["id"] for entry in coco_set.annotations}) == len(coco_set.annotations)
    for entry in coco_set.annotations:
        width, height = sizes[entry["image_id"]]
        x, y, w, h = entry["bbox"]
        assert min(w, h) > 0 and x < width and y < height and x + w > 0 and y + h > 0
        assert all(math.isfinite(value) for value in (*entry["bbox"], entry["area"]))
        assert entry["iscrowd"] in (0, 1)
        assert 0 <= coco_set.class_of_category[entry["category_id"]] < len(coco_set.class_names)
    records = to_records(coco_set, "photos")
    assert sum(len(record["annotations"]) for record in records) == len(coco_set.annotations)


def assert_measurable(coco_set: CocoSet) -> None:
    """COCO's evaluation takes the set."""
    ids = [image["id"] for image in coco_set.images]
    category = coco_set.categories[0]["id"]
    detection = {"image_id": ids[0], "category_id": category, "bbox": [0, 0, 5, 5], "score": 0.5}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluation = evaluate_boxes(coco_api(coco_set), [detection], ids, "pycocotools")
    assert len(evaluation.stats) == 12
    assert not any(math.isnan(value) for value in evaluation.stats)


@given(content=valid_files())
def test_a_good_file_is_taken_as_it_is(file: Path, content: Json):
    coco_set = read(file, content)
    assert coco_set is not None
    assert coco_set.as_json() == content | {
        "categories": sorted(content["categories"], key=lambda category: category["id"])
    }
    assert_usable(coco_set)


@given(content=files())
@examples(2)
def test_any_file_is_usable_or_refused(file: Path, content: Json):
    coco_set = read(file, content)
    if coco_set is not None:
        assert_usable(coco_set)


@given(content=files())
@examples(0.5)
def test_what_is_not_refused_can_be_measured(file: Path, content: Json):
    coco_set = read(file, content)
    if coco_set is not None and coco_set.images:
        assert_measurable(coco_set)


@given(content=junk)
def test_any_json_is_refused(file: Path, content: object):
    assert read(file, content) is None
    count_fault("bad input")


@given(content=st.one_of(st.binary(), st.text().map(lambda text: text.encode())))
def test_any_bytes_are_refused(file: Path, content: bytes):
    file.write_bytes(content)
    with pytest.raises(DataError):
        read_coco(file)
    count_fault("bad input")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 10_000, "\ufeff{}"])
def test_deep_and_long_json_is_refused(file: Path, text: str):
    file.write_text(text)
    with pytest.raises(DataError, match=r"set\.json"):
        read_coco(file)
    count_fault("bad input")


@given(content=valid_files(), data=st.data())
def test_the_order_of_entries_changes_nothing_but_the_order(
    file: Path, content: Json, data: st.DataObject
):
    before = read(file, content)
    moved = {name: data.draw(st.permutations(listed)) for name, listed in content.items()}
    coco_set = read(file, moved)
    assert before is not None and coco_set is not None
    assert coco_set.categories == before.categories
    for name in ("images", "annotations"):
        both = (getattr(each, name) for each in (before, coco_set))
        first, second = (sorted(listed, key=lambda entry: entry["id"]) for listed in both)
        assert first == second
