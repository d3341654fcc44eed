"""Every class has a name of its own, whatever its categories are called."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from detectron2.data import MetadataCatalog
from omegaconf import OmegaConf

from stageinteractor.data.checks import check_dataset
from stageinteractor.data.checks.entries import distinct_names
from stageinteractor.data.registration import resolve_dataset

Json = dict[str, Any]
pytestmark = pytest.mark.usefixtures("unregister")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({3: "car", 8: "bus"}, ["car", "bus"]),
        ({3: "car", 8: "bus", 7: "car"}, ["car (id 3)", "bus", "car (id 7)"]),
        ({1: 5, 2: "5"}, ["5 (id 1)", "5 (id 2)"]),
        (
            {3: "car", 7: "car", 9: "car (id 3)"},
            ["car (id 3) (id 3)", "car (id 7)", "car (id 3) (id 9)"],
        ),
        ({}, []),
    ],
)
def test_repeated_names_get_their_ids(names: dict[int, Any], expected: list[str]):
    distinct = distinct_names(names)
    assert list(distinct) == list(names) and list(distinct.values()) == expected


@pytest.fixture
def two_cars(content: Json) -> Json:
    content["categories"][1]["name"] = "car"  # 19 and 1000
    return content


def test_both_of_one_name_are_classes_with_a_warning(
    two_cars: Json,
    write_json: Callable[..., Path],
    write_images: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
):
    split = {"json": str(write_json(two_cars)), "images": str(write_images(two_cars))}
    node = OmegaConf.create({"name": "tiny", "train": split, "val": split})
    resolve_dataset(node)
    expected = ["person", "car (id 19)", "car (id 1000)"]
    assert node.num_classes == 3 and node.class_names == expected
    assert MetadataCatalog.get("tiny_val").thing_classes == expected
    (warning,) = [each for each in caplog.messages if "'car'" in each]
    assert "19, 1000" in warning and "annotations.json" in warning


def test_the_checker_reports_and_counts_both_of_one_name(
    two_cars: Json, write_json: Callable[..., Path], write_images: Callable[..., Path]
):
    checked = check_dataset(write_json(two_cars), write_images(two_cars), progress=False)
    assert "repeated_name" in {finding.kind for finding in checked.findings}
    assert checked.class_counts == {"car (id 19)": 1, "car (id 1000)": 1, "person": 1}
