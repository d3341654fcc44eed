"""What a checked annotation file holds, and what is said about one that cannot be used."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stageinteractor.data.checks import KINDS, check_dataset
from stageinteractor.data.coco_format import read_coco
from stageinteractor.errors import DataError

Json = dict[str, Any]
Write = Callable[..., Path]


def refusal(path: Path) -> str:
    """The message of the error; it names the file and is one line."""
    with pytest.raises(DataError) as caught:
        read_coco(path, "dataset.train.json")
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "dataset.train.json" in message
    assert "\n" not in message
    return message


# What is read


def test_classes_are_categories_in_the_order_of_ids(content: Json, write_json: Write):
    coco_set = read_coco(write_json(content))
    assert coco_set.class_of_category == {7: 0, 19: 1, 1000: 2}
    assert coco_set.class_names == ["person", "car", "dog"]


def test_missing_area_and_iscrowd_are_set(content: Json, write_json: Write):
    content["annotations"][0] |= {"area": 123.0, "segmentation": [[0, 0, 1, 0, 1, 1]]}
    first, second, third = read_coco(write_json(content)).annotations
    assert (first["area"], first["iscrowd"]) == (123.0, 0)
    assert first["segmentation"] == [[0, 0, 1, 0, 1, 1]]
    assert (second["area"], second["iscrowd"]) == (60 * 40, 0)
    assert (third["area"], third["iscrowd"]) == (12, 1)


def test_as_json_can_be_read_again(content: Json, write_json: Write):
    coco_set = read_coco(write_json(content))
    again = read_coco(write_json(coco_set.as_json(), "again.json"))
    assert again.as_json() == coco_set.as_json()


# Boxes that are left out


def test_unusable_boxes_are_left_out_with_one_warning(
    content: Json, write_json: Write, log: pytest.LogCaptureFixture
):
    faulty = [[1, 2, 0, 3], [1, 2, 3, -1], [1, 2, 3], [float("nan"), 0, 1, 1], [60, 0, 5, 5]]
    content["annotations"] += [
        {"id": 600 + index, "image_id": 11, "category_id": 7, "bbox": box}
        for index, box in enumerate(faulty)
    ]
    path = write_json(content)
    coco_set = read_coco(path, "dataset.val.json")
    assert [annotation["id"] for annotation in coco_set.annotations] == [501, 502, 503]
    (record,) = log.records
    message = record.getMessage()
    assert record.levelname == "WARNING"
    assert message.startswith(f"{path} (dataset.val.json): left out unusable boxes: ")
    assert "1 x box without width or height (annotation id 600)" in message
    assert "1 x box of negative size (annotation id 601)" in message
    assert "2 x box is not four finite numbers (annotation id 602, 603)" in message
    assert "1 x box outside the image (annotation id 604)" in message


# Files that are refused


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"{'images': []}", "is not readable as JSON"),
        (b'{"images": [', "is not readable as JSON"),
        (b'{"name": "\xff"}', "is not readable as UTF-8"),
        ('{"images": []}'.encode("utf-16"), "is UTF-16; save it as UTF-8"),
        ('{"images": []}'.encode("utf-32"), "is UTF-32; save it as UTF-8"),
    ],
)
def test_file_that_is_not_json(tmp_path: Path, data: bytes, reason: str):
    (tmp_path / "broken.json").write_bytes(data)
    assert reason in refusal(tmp_path / "broken.json")


@pytest.mark.parametrize("name", ["images", "annotations", "categories"])
@pytest.mark.parametrize("other", [None, {}, "absent"])
def test_file_without_one_of_the_lists(content: Json, write_json: Write, name: str, other: Any):
    content[name] = other
    if other == "absent":
        del content[name]
    assert f"no list {name!r}" in refusal(write_json(content))


@pytest.mark.parametrize("size", ["40", None, 0, -3, math.nan, math.inf, 10**400])
def test_image_whose_size_is_no_number(content: Json, write_json: Write, size: Any):
    content["images"][0]["height"] = size
    assert "image id 11" in refusal(write_json(content))


@pytest.mark.parametrize(
    ("name", "position", "field", "place", "problem"),
    [
        ("images", 1, "height", "image id 12", "no height"),
        ("images", 0, "file_name", "image id 11", "no file_name"),
        ("images", 1, "id", "number 1 of 'images'", "no id"),
        ("categories", 1, "name", "category id 1000", "no name"),
        ("categories", 0, "id", "number 0 of 'categories'", "no id"),
        ("annotations", 2, "bbox", "annotation id 503", "no bbox"),
        ("annotations", 0, "image_id", "annotation id 501", "no image_id"),
        ("annotations", 0, "category_id", "annotation id 501", "no category_id"),
    ],
)
def test_entry_without_a_field(
    content: Json, write_json: Write, name: str, position: int, field: str, place: str, problem: str
):
    del content[name][position][field]
    message = refusal(write_json(content))
    assert place in message and problem in message


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("images", "image id 11: used 2 times"),
        ("categories", "category id 19: used 2 times"),
        ("annotations", "annotation id 501: used 2 times"),
    ],
)
def test_repeated_id(content: Json, write_json: Write, name: str, said: str):
    content[name].append(content[name][0])
    assert said in refusal(write_json(content))


@pytest.mark.parametrize(
    ("part", "field", "value", "message"),
    [
        ("images", "id", [1], r"number 0 of 'images'.*\[1\]"),
        ("images", "file_name", 7, "image id b .*file_name is 7"),
        ("images", "file_name", "", "image id b .*file_name is ''"),
        ("categories", "id", "b", "number 0 of 'categories', category id b: the id is 'b'"),
        ("annotations", "id", [1], r"number 0 of 'annotations'.*\[1\]"),
        ("annotations", "image_id", [1], r"annotation id 1.*image_id \[1\] is not in 'images'"),
        ("annotations", "image_id", 7, r"annotation id 1.*image_id 7 is not in 'images'"),
        ("annotations", "category_id", {}, "category_id {} is not in 'categories'"),
        ("annotations", "image_id", "a\n", r"image_id 'a\\+n' is not in 'images'"),
        ("annotations", "area", None, "annotation id 1.*area is None"),
        ("annotations", "area", math.nan, "annotation id 1.*area is nan"),
        ("annotations", "iscrowd", None, "annotation id 1.*iscrowd is None"),
        ("annotations", "iscrowd", "0", "annotation id 1.*iscrowd is '0'"),
        ("categories", "name", "\ud800", "category id 1: the name is "),
    ],
)
def test_values_of_another_type_are_refused(tmp_path, part, field, value, message):
    content = {
        "images": [{"id": key, "file_name": "a.png", "width": 3, "height": 3} for key in ("b", 1)],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}],
        "categories": [{"id": 1, "name": "x"}],
    }
    content[part][0][field] = value
    (tmp_path / "set.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        read_coco(tmp_path / "set.json")


# What other tools write


def test_a_byte_order_mark_is_ignored(content: Json, tmp_path: Path):
    (tmp_path / "a.json").write_text(json.dumps(content), encoding="utf-8-sig")
    assert read_coco(tmp_path / "a.json").class_names == ["person", "car", "dog"]


def test_whole_floats_are_ids(content: Json, write_json: Write):
    expected = read_coco(write_json(content)).as_json()
    for entry in (entry for entries in content.values() for entry in entries):
        fields = ("id", "image_id", "category_id", "iscrowd")
        entry.update({field: float(entry[field]) for field in fields if field in entry})
    path = write_json(content)
    assert '"id": 11.0' in path.read_text() and '"iscrowd": 1.0' in path.read_text()
    coco_set = read_coco(path)
    assert coco_set.as_json() == expected
    ids = [entry["id"] for entries in coco_set.as_json().values() for entry in entries]
    assert {type(value) for value in ids} == {int}


@pytest.mark.parametrize("value", [1.5, True, False])
@pytest.mark.parametrize(
    ("part", "field"),
    [
        ("images", "id"),
        ("categories", "id"),
        ("annotations", "id"),
        ("annotations", "image_id"),
        ("annotations", "category_id"),
    ],
)
def test_other_floats_and_booleans_are_no_ids(
    content: Json, write_json: Write, part: str, field: str, value: Any
):
    content["images"][0]["id"] = content["categories"][0]["id"] = 1  # equals True
    content["annotations"] = [{"id": 1, "image_id": 12, "category_id": 7, "bbox": [1, 1, 2, 2]}]
    content[part][0][field] = value
    assert repr(value) in refusal(write_json(content))


@pytest.mark.parametrize(
    "segmentation",
    [
        [[10, 5, 30, 5, 30, 15]],
        {"size": [40, 60], "counts": [405, 10, *[30, 10] * 19, 1225]},
        {"size": [40, 60], "counts": "e<:n" + "0" * 38 + "[U1"},
    ],
    ids=["polygon", "RLE", "compressed RLE"],
)
def test_a_missing_box_is_that_of_the_segmentation(
    content: Json, write_json: Write, segmentation: Any
):
    del content["annotations"][0]["bbox"]
    content["annotations"][0]["segmentation"] = segmentation
    first = read_coco(write_json(content)).annotations[0]
    assert first["bbox"] == [10, 5, 20, 10] and first["area"] == 200


def test_federated_annotations_are_refused(content: Json, write_json: Write):
    """LVIS's images say for which classes they have objects without a box."""
    for image in content["images"]:
        image["not_exhaustive_category_ids"] = []
    with pytest.raises(DataError, match=r"\(json\): images with 'not_exhaustive_category_ids'"):
        read_coco(write_json(content))


@pytest.mark.parametrize(
    ("scale", "kind"), [((1, 1), "looks_xyxy"), ((1 / 60, 1 / 40), "looks_relative")]
)
def test_a_set_of_another_box_format_is_refused(
    content: Json, write_json: Write, scale: tuple[float, float], kind: str
):
    content["annotations"] = [
        {
            "id": n,
            "image_id": 11,
            "category_id": 7,
            "bbox": [(25 + n) * scale[0], 20 * scale[1], (45 + n) * scale[0], 35 * scale[1]],
        }
        for n in range(1, 9)
    ]
    path = write_json(content)
    (finding,) = (f for f in check_dataset(path, path.parent).findings if f.kind == kind)
    with pytest.raises(DataError) as caught:
        read_coco(path, "dataset.train.json")
    problem = f"{finding.problem}: {KINDS[kind].advice}"
    assert str(caught.value) == f"{path} (dataset.train.json): {problem}"
