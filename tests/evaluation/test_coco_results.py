"""Results files are read, or refused with the position of the fault."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from stageinteractor.data.coco_format import CocoSet
from stageinteractor.errors import DataError
from stageinteractor.evaluation.coco_results import read_results

GOOD = {"image_id": 3, "category_id": 7, "bbox": [1, 2, 3.5, 4], "score": 0.5}
SET = CocoSet("val.json", [{"id": 3}], [], [{"id": 7, "name": "cat"}])


def write(folder: Path, content: Any) -> Path:
    path = folder / "results.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_detections_are_returned_as_they_are(tmp_path: Path):
    assert read_results(write(tmp_path, [GOOD, GOOD]), SET) == [GOOD, GOOD]
    assert read_results(write(tmp_path, []), SET) == []


def test_missing_file_error_has_advice(tmp_path: Path):
    with pytest.raises(DataError, match=r"results\.json: no such file; .*--eval-only"):
        read_results(tmp_path / "results.json", SET)


@pytest.mark.parametrize(
    ("content", "message"), [("[{", "not JSON"), ({"a": 1}, "expected a list of detections")]
)
def test_other_content_is_refused(tmp_path: Path, content: Any, message: str):
    with pytest.raises(DataError, match=rf"results\.json: {message}"):
        read_results(write(tmp_path, content), SET)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 4}, "has image_id 4, which val.json does not list"),
        ({"image_id": [3]}, "has image_id [3], which val.json does not list"),
        ({"category_id": 0}, "has category_id 0, which val.json does not list"),
        ({"bbox": [1, 2, 3]}, "four finite numbers"),
        ({"bbox": [1, 2, 3, math.nan]}, "four finite numbers"),
        ({"bbox": [1, 2, 3, "4"]}, "four finite numbers"),
        ({"score": math.inf}, "has score inf"),
        ({"score": None}, "has score None"),
    ],
)
def test_faulty_detection_is_named(tmp_path: Path, change: dict[str, Any], message: str):
    path = write(tmp_path, [GOOD, GOOD | change])
    with pytest.raises(DataError, match=r"results\.json: detection number 1 \(from 0\) ") as caught:
        read_results(path, SET)
    assert message in str(caught.value)


@pytest.mark.parametrize("entry", [3, {"image_id": 3, "category_id": 7, "score": 0.5}])
def test_incomplete_detection_is_named(tmp_path: Path, entry: Any):
    with pytest.raises(DataError, match="detection number 0 .* is not an object with image_id"):
        read_results(write(tmp_path, [entry]), SET)
