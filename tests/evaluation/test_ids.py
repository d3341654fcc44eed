"""Ids of images and categories of any kind: small, huge, negative, text or mixed."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_sets import BOTH, process, random_set, registered_set, twelve_numbers

from stageinteractor.data.coco_format import CocoSet, read_coco
from stageinteractor.errors import DataError
from stageinteractor.evaluation import CocoEvaluator
from stageinteractor.evaluation.coco import coco_api, evaluate_boxes
from stageinteractor.evaluation.coco_results import read_results
from stageinteractor.evaluation.error_types import class_equality

Json = dict[str, Any]
NUMBERS = {
    "from-0": list(range(20)),
    "negative": list(range(-7, 13)),
    "2**53": [2**53 + i for i in range(20)],
    "2**63": [2**63 - 10 + i for i in range(20)],
    "2**64": [-(2**64), *range(2**64, 2**64 + 19)],
    "small-and-huge": [number for i in range(10) for number in (i, 2**53 + i)],
}
TEXTS = {
    "text": [f"frame_{i:04d}" for i in range(20)],
    "digits": [str(i) for i in range(20)],
    "mixed": [number for i in range(10) for number in (i, str(i))],  # 7 is not "7"
}


def with_ids(coco_set: CocoSet, results: list[Json], images: list[Any], categories: list[int]):
    """Return the same set and detections with other ids."""
    image = dict(zip([each["id"] for each in coco_set.images], images, strict=True))
    old = [each["id"] for each in coco_set.categories]
    category = dict(zip(old, categories, strict=True))

    def moved(entries: list[Json]) -> list[Json]:
        return [
            entry
            | {"image_id": image[entry["image_id"]], "category_id": category[entry["category_id"]]}
            for entry in entries
        ]

    return CocoSet(
        coco_set.json_file,
        [each | {"id": image[each["id"]]} for each in coco_set.images],
        moved(coco_set.annotations),
        [each | {"id": category[each["id"]]} for each in coco_set.categories],
    ), moved(results)


@pytest.fixture(scope="module")
def small() -> tuple[CocoSet, list[Json], np.ndarray]:
    """A set with small ids, detections, and pycocotools' numbers."""
    coco_set, results = random_set(np.random.default_rng(0))
    numbers = twelve_numbers(coco_set, results, "pycocotools")
    assert ((numbers > 0) & (numbers < 1)).all()
    return coco_set, results, numbers


@pytest.mark.parametrize("backend", BOTH)
@pytest.mark.parametrize("ids", NUMBERS | TEXTS)
def test_image_ids_do_not_change_the_twelve_numbers(small: Any, ids: str, backend: str):
    coco_set, results, expected = small
    changed = with_ids(coco_set, results, (NUMBERS | TEXTS)[ids], [7, 19, 1000])
    numbers = twelve_numbers(*changed, backend)
    np.testing.assert_allclose(numbers, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", BOTH)
@pytest.mark.parametrize("ids", NUMBERS)
def test_category_ids_do_not_change_the_twelve_numbers(small: Any, ids: str, backend: str):
    coco_set, results, expected = small
    changed = with_ids(coco_set, results, list(range(1, 21)), NUMBERS[ids][8:11])
    numbers = twelve_numbers(*changed, backend)
    np.testing.assert_allclose(numbers, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", BOTH)
def test_perfect_detections_give_100_with_ids_beyond_2_53(backend: str):
    """With two images only, colliding ids gave AR1 25 without an error."""
    box = [0, 0, 50, 50]
    ids = [2**53, 2**53 + 1]
    entries = [{"image_id": i, "category_id": 1, "bbox": box} for i in ids]
    coco_set = CocoSet(
        "-",
        [{"id": i, "width": 99, "height": 99} for i in ids],
        [entry | {"area": 2500, "iscrowd": 0} for entry in entries],
        [{"id": 1, "name": "car"}],
    )
    results = [entry | {"score": 0.9} for entry in entries]
    numbers = evaluate_boxes(coco_api(coco_set), results, ids, backend).stats
    assert numbers[0] == pytest.approx(1) and numbers[6] == 1


@pytest.mark.parametrize("backend", BOTH)
def test_equal_scores_are_ordered_by_image_id(backend: str):
    """COCO's order, whatever the order of the file: right then wrong is AP 1, the reverse 1/2."""
    box, other = [0, 0, 50, 50], [60, 60, 30, 30]
    entry = {"category_id": 1, "bbox": box, "area": 2500, "iscrowd": 0}
    images = [{"id": i, "width": 99, "height": 99} for i in (9, 8)]
    coco_set = CocoSet("-", images, [entry | {"image_id": 8}], [{"id": 1, "name": "car"}])
    results = [
        {"image_id": image, "category_id": 1, "bbox": at, "score": 0.5}
        for image, at in ((9, other), (8, box))
    ]
    assert evaluate_boxes(coco_api(coco_set), results, [9, 8], backend).stats[0] == pytest.approx(1)


def test_detection_of_an_unknown_image_is_refused():
    coco_set, results = random_set(np.random.default_rng(0))
    with pytest.raises(DataError, match="image_id '7'"):
        evaluate_boxes(coco_api(coco_set), [results[0] | {"image_id": "7"}], [1], "pycocotools")


CLASS_IDS = [[7, 19, 1000], [2**53, 2**53 + 1, 2**64], [-1, 2**63, 2**63 + 1]]


@pytest.mark.parametrize("ids", CLASS_IDS)
def test_categories_are_equal_only_to_themselves(ids: list[int]):
    entries = [{"category_id": each} for each in ids]
    np.testing.assert_array_equal(class_equality(entries, entries), np.eye(3, dtype=bool))
    assert class_equality(entries, []).shape == (3, 0)


# The evaluator: files keep the ids

IMAGES = ["frame_0000", "7", 7, 2**53 + 1, 2**64, -3, 0]
CATEGORIES = [{"id": 2**53, "name": "disc"}, {"id": 2**53 + 1, "name": "bar"}]


@pytest.fixture
def registered(tmp_path: Path):
    """An image an id of IMAGES, with a disc and a bar each."""
    content: Json = {"images": [], "annotations": [], "categories": CATEGORIES}
    for index, image_id in enumerate(IMAGES):
        image = {"id": image_id, "file_name": f"{index}.png", "height": 99, "width": 99}
        content["images"].append(image)
        for category, x in ((2**53, 0), (2**53 + 1, 1)):
            entry = {"image_id": image_id, "category_id": category, "bbox": [x, x, 40, 40]}
            content["annotations"].append(entry)
    with registered_set("ids", tmp_path, content):
        yield tmp_path


@pytest.mark.parametrize("backend", BOTH)
def test_results_files_keep_the_ids(registered: Path, backend: str):
    out = registered / "evaluation"
    evaluator = CocoEvaluator("ids_val", str(out), backend, nms_threshold=0.5)
    boxes = [(0, [0, 0, 40, 40], 0.9), (1, [1, 1, 41, 41], 0.8)]
    detections = [(image_id, *box) for image_id in IMAGES for box in boxes]
    process(evaluator, dict.fromkeys(IMAGES, (99, 99)), detections)
    metrics = evaluator.evaluate()
    assert metrics.pop("best_f1")["F1"] == 100
    for numbers in metrics.values():
        values = [value for value in numbers.values() if not math.isnan(value)]
        assert values == pytest.approx([100] * len(values)) and numbers["AP-bar"] > 99
    expected = [(image, each["id"]) for image in IMAGES for each in CATEGORIES]
    truth = read_coco(out / "ground_truth.json")
    for suffix in ("", "_nms"):
        results = read_results(out / f"coco_instances_results{suffix}.json", truth)
        assert [(each["image_id"], each["category_id"]) for each in results] == expected
    assert [image["id"] for image in truth.images] == IMAGES
