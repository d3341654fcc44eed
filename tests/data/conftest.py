"""A small set of two images and three categories, to be changed and written by the tests."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

Json = dict[str, Any]


@pytest.fixture
def content() -> Json:
    """A valid annotation file: ids with gaps, categories not in order."""
    return {
        "images": [
            {"id": 11, "file_name": "a.png", "height": 40, "width": 60},
            {"id": 12, "file_name": "b.png", "height": 50, "width": 50},
        ],
        "annotations": [
            {"id": 501, "image_id": 11, "category_id": 7, "bbox": [10, 5, 20, 10]},
            {"id": 502, "image_id": 11, "category_id": 1000, "bbox": [0, 0, 60, 40]},
            {"id": 503, "image_id": 12, "category_id": 19, "bbox": [1.5, 2, 3, 4], "iscrowd": 1},
        ],
        "categories": [
            {"id": 19, "name": "car"},
            {"id": 1000, "name": "dog"},
            {"id": 7, "name": "person"},
        ],
    }


@pytest.fixture
def write_json(tmp_path: Path) -> Callable[..., Path]:
    """Write a JSON file and return its path."""

    def write(content: Any, name: str = "annotations.json") -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(content))
        return path

    return write


@pytest.fixture
def write_images(tmp_path: Path) -> Callable[..., Path]:
    """Write a noisy PNG for every image of a set and return their folder."""

    def write(content: Json, name: str = "photos") -> Path:
        folder = tmp_path / name
        for image in content["images"]:
            path = folder / image["file_name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng(image["id"])
            pixels = rng.integers(0, 256, (image["height"], image["width"], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
        return folder

    return write


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    """What the package logs, also after detectron2 has set its logger up."""
    monkeypatch.setattr(logging.getLogger("stageinteractor"), "propagate", True)
    return caplog


@pytest.fixture
def unregister() -> Iterator[None]:
    """Forget the data sets that a test registers."""
    before = set(DatasetCatalog.list())
    yield
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.pop(name, None)
