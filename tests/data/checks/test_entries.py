"""Entries, ids and references of an annotation file."""

from typing import Any

import pytest

from stageinteractor.data.checks import KINDS, check_dataset
from stageinteractor.errors import DataError

Json = dict[str, Any]


def test_a_line_names_ids_file_problem_and_remedy(content, only):
    content["annotations"][0]["category_id"] = 8
    content["annotations"][1]["category_id"] = 7
    content["categories"].pop(1)
    finding = only(content)
    assert finding.line() == (
        "annotation id 501, image id 11 (a.png): category_id 8 is not in 'categories': "
        "add the category or remove the annotation"
    )
    assert finding.as_json() == {
        "severity": "error",
        "kind": "unknown_category",
        "problem": "category_id 8 is not in 'categories'",
        "annotation_id": 501,
        "image_id": 11,
        "file_name": "a.png",
        "advice": "add the category or remove the annotation",
    }


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("images", "repeated_image_id", "image id 11: used 2 times (a.png, other.png)"),
        ("categories", "repeated_category_id", "category id 19: used 2 times (car, bus)"),
        (
            "annotations",
            "repeated_annotation_id",
            "annotation id 501: used 2 times (image id 11: a.png)",
        ),
    ],
)
def test_a_duplicate_id_is_named_once(content, check, photos, name, kind, expected):
    (photos / "other.png").write_bytes((photos / "a.png").read_bytes())
    other = {"images": {"file_name": "other.png"}, "categories": {"name": "bus"}}
    content[name].append(content[name][0] | other.get(name, {"bbox": [1, 1, 5, 5]}))
    findings = [finding for finding in check(content).findings if finding.kind == kind]
    assert [finding.line() for finding in findings] == [f"{expected}: {KINDS[kind].advice}"]


@pytest.mark.parametrize("name", ["images", "categories", "annotations"])
def test_an_empty_list_is_an_error(content, check, name):
    content[name] = []
    assert f"no_{name}" in {f.kind for f in check(content).findings if f.severity == "error"}


@pytest.mark.parametrize(
    ("name", "entry", "expected"),
    [
        ("annotations", 3, "number 3 of 'annotations': expected an object, got 3"),
        (
            "annotations",
            {"id": 9, "image_id": 11},
            "annotation id 9, image id 11 (a.png): no category_id, bbox",
        ),
        ("images", {"file_name": "c.png"}, "number 2 of 'images' (c.png): no id, width, height"),
        ("images", {"id": 4, "file_name": 5, "width": 1, "height": 1}, "file_name is 5"),
        ("categories", {"name": "x"}, "number 3 of 'categories': no id"),
    ],
)
def test_incomplete_entries_are_named_by_id_or_position(content, only, name, entry, expected):
    content[name].append(entry)
    finding = only(content)
    assert finding.kind == "malformed" and expected in finding.line()


@pytest.mark.parametrize("name", ["images", "annotations"])
def test_text_ids_are_a_warning(content, check, name):
    content[name][0]["id"] = "a"
    for annotation in content["annotations"]:
        if name == "images" and annotation["image_id"] == 11:
            annotation["image_id"] = "a"
    (finding,) = check(content).findings
    assert (finding.kind, finding.severity) == ("text_id", "warning") and "'a'" in finding.line()


@pytest.mark.parametrize("value", [7.5, None, [7], True])
def test_ids_must_be_whole_numbers(content, check, value):
    content["annotations"][0]["id"] = value
    (finding,) = check(content).findings
    assert finding.kind == "invalid_id" and repr(value) in finding.problem
    assert finding.location.entry == "number 0 of 'annotations'"
    assert (finding.location.image_id, finding.location.file_name) == (11, "a.png")


def test_annotation_id_0_is_a_warning(content, only):
    content["annotations"][0]["id"] = 0
    finding = only(content)
    assert (finding.kind, finding.severity) == ("id_0", "warning")
    assert finding.line().startswith("annotation id 0, image id 11 (a.png): ")


def test_a_file_listed_twice_is_an_error(content, check):
    content["images"].append(content["images"][0] | {"id": 13})
    checked = check(content)
    (finding,) = checked.findings
    assert (finding.kind, finding.severity) == ("repeated_file", "error")
    assert finding.line().startswith(
        "image id 13 (a.png): 'a.png' is listed 2 times, as id 11, 13: "
    )
    assert checked.num_empty_images == 1


def test_unused_and_like_named_categories_are_warnings(content, check):
    content["categories"].append({"id": 5, "name": "car"})
    findings = {finding.kind: finding for finding in check(content).findings}
    assert set(findings) == {"unused_category", "repeated_name"}
    assert {finding.location.category_id for finding in findings.values()} == {5}
    assert all(finding.severity == "warning" for finding in findings.values())


def test_files_that_are_not_coco_json_are_refused(content, tmp_path, write_json, photos):
    with pytest.raises(DataError, match="no such file"):
        check_dataset(tmp_path / "nowhere.json", photos)
    (tmp_path / "text.json").write_text("{")
    with pytest.raises(DataError, match="not readable as JSON"):
        check_dataset(tmp_path / "text.json", photos)
    with pytest.raises(DataError, match="no list 'annotations'"):
        check_dataset(write_json({"images": []}), photos)
    with pytest.raises(DataError, match="no such folder"):
        check_dataset(write_json(content), tmp_path / "nowhere")


# What other tools write


def test_a_box_from_a_segmentation_is_a_warning(content, only):
    del content["annotations"][0]["bbox"]
    content["annotations"][0]["segmentation"] = [[10, 5, 30, 5, 30, 15]]
    finding = only(content)
    assert (finding.kind, finding.severity) == ("no_box", "warning")
    assert finding.line().startswith("annotation id 501, image id 11 (a.png): ")


# Something to train on


@pytest.mark.parametrize(
    ("iscrowd", "kinds"),
    [([1, 1, 1], {"only_crowds"}), ([0, 1, 1], set()), ([], {"no_annotations"})],
)
def test_a_set_without_objects_to_train_on_is_an_error(content, check, iscrowd, kinds):
    del content["annotations"][len(iscrowd) :]
    for annotation, flag in zip(content["annotations"], iscrowd, strict=True):
        annotation["iscrowd"] = flag
    errors = [finding for finding in check(content).findings if finding.severity == "error"]
    assert {finding.kind for finding in errors} == kinds
    for finding in errors:
        assert "annotations.json" in finding.line()  # the file
        assert "dataloader.train.dataset.filter_empty" in finding.line()
