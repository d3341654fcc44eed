"""A small data set with detections, and the figures that a function saves."""

import json
from pathlib import Path

import pytest
from PIL import Image

from stageinteractor.data.coco_format import CocoSet, read_coco


@pytest.fixture
def figures(monkeypatch):
    """Figures in the order in which they are saved; they are saved all the same."""
    from matplotlib.figure import Figure

    saved = []
    save = Figure.savefig

    def keep(figure, *args, **kwargs):
        saved.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return saved


@pytest.fixture
def coco_set(tmp_path: Path) -> CocoSet:
    """20 images of 64x48, each of its own gray, in a folder "photos"; image 1 has an object."""
    (tmp_path / "photos").mkdir()
    images = []
    for number in range(20):
        name = f"{number}.png"
        gray = (5 + 10 * number,) * 3
        Image.new("RGB", (64, 48), gray).save(tmp_path / "photos" / name)
        images.append({"id": number + 1, "file_name": name, "height": 48, "width": 64})
    content = {
        "images": images,
        "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "bbox": [16, 24, 32, 12]}],
        "categories": [{"id": 7, "name": "person"}, {"id": 19, "name": "car"}],
    }
    (tmp_path / "val.json").write_text(json.dumps(content))
    return read_coco(tmp_path / "val.json")


@pytest.fixture
def results() -> list[dict]:
    """Detections of image 1 of `coco_set`."""
    return [
        {"image_id": 1, "category_id": 19, "bbox": [8, 20, 40, 20], "score": 0.75},
        {"image_id": 1, "category_id": 7, "bbox": [0, 0, 9, 9], "score": 0.1},
    ]
