"""What is written can be read again, and is either complete or not there."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from stageinteractor.prediction import Classes, Frame
from stageinteractor.prediction.drawing import SMALLEST, draw_detections
from stageinteractor.prediction.sinks import csv_file, json_file, picture_folder
from stageinteractor.visualization.boxes import class_color

CLASSES = Classes(("cat", "dog"), (17, 18))


@pytest.fixture
def frames(gray):
    """An image, and two frames of a video."""
    return [
        Frame("sub/a.png", gray(), image_id=4),
        Frame("clip.mp4", gray(), number=0, fps=10.0, image_id=5),
        Frame("clip.mp4", gray(), number=1, fps=10.0, seconds=0.1, image_id=6),
    ]


def write_all(sink, frames, found) -> None:
    with sink as write:
        for frame in frames:
            write(frame, found(*frame.picture.size))


# Pictures


def test_pictures_have_the_names_of_the_images(tmp_path: Path, frames, found):
    write_all(picture_folder(tmp_path, CLASSES), frames, found)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"sub/a.png", "clip.mp4/000000.jpg", "clip.mp4/000001.jpg"}


def test_frames_of_videos_are_not_drawn_unless_asked_for(tmp_path: Path, frames, found):
    write_all(picture_folder(tmp_path, CLASSES, frames=False), frames, found)
    assert [path.name for path in tmp_path.rglob("*.*")] == ["a.png"]


@pytest.mark.parametrize("name", ["a.png", "a.JPG", "a.webp", "a.tif", "a"])
def test_pictures_keep_their_kind_if_it_can_show_colours(tmp_path: Path, gray, found, name):
    write_all(picture_folder(tmp_path, CLASSES), [Frame(name, gray())], found)
    (path,) = tmp_path.iterdir()
    assert path.name == {"a.tif": "a.tif.jpg", "a": "a.jpg"}.get(name, name)
    with Image.open(path) as picture:
        assert picture.size == (640, 480)


def test_small_pictures_are_enlarged_and_large_ones_reduced_on_request(gray, found):
    assert draw_detections(gray(), found(40, 30), CLASSES).size == (SMALLEST, SMALLEST * 3 // 4)
    large = gray(size=(1000, 2000))
    assert draw_detections(large, found(1000, 2000), CLASSES).size == (1000, 2000)
    assert draw_detections(large, found(1000, 2000), CLASSES, largest=800).size == (400, 800)


def test_boxes_are_drawn_in_the_colour_of_their_class(gray, found):
    drawn = np.asarray(draw_detections(gray(size=(800, 600)), found(800, 600), CLASSES))
    assert tuple(drawn[300, 400]) == class_color(1)  # the right side of the left half
    assert tuple(drawn[300, 799]) == class_color(0)
    assert tuple(drawn[300, 600]) == (90, 90, 90)


# COCO JSON


def test_json_is_cocos_results_format(tmp_path: Path, frames, found):
    write_all(json_file(tmp_path / "out.json", CLASSES), frames, found)
    results = json.loads((tmp_path / "out.json").read_text())
    assert len(results) == 6
    assert results[0] == {
        "image_id": 4,
        "category_id": 18,
        "bbox": [0.0, 0.0, 20.0, 30.0],
        "score": pytest.approx(0.8),
        "file_name": "sub/a.png",
        "category": "dog",
    }
    assert [result.get("frame") for result in results] == [None, None, 0, 0, 1, 1]
    truth = COCO()
    truth.dataset = {
        "images": [{"id": number} for number in (4, 5, 6)],
        "categories": [{"id": 17}, {"id": 18}],
        "annotations": [],
    }
    truth.createIndex()
    assert len(truth.loadRes(str(tmp_path / "out.json")).getAnnIds(imgIds=[4])) == 2


def test_json_without_detections_is_an_empty_list(tmp_path: Path, gray, found):
    with json_file(tmp_path / "out.json", CLASSES) as write:
        write(Frame("a.png", gray()), found(40, 30)[:0])
    assert json.loads((tmp_path / "out.json").read_text()) == []


# CSV


def test_csv_has_a_row_a_detection(tmp_path: Path, frames, found):
    classes = Classes(("cat", 'a "large", dog'))
    write_all(csv_file(tmp_path / "out.csv", classes), frames, found)
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert rows[0] == {
        "file_name": "sub/a.png",
        "frame": "",
        "class": 'a "large", dog',
        "score": "0.8000",
        "x_min": "0.00",
        "y_min": "0.00",
        "x_max": "20.00",
        "y_max": "30.00",
    }
    assert [row["frame"] for row in rows] == ["", "", "0", "0", "1", "1"]


# Whole or not at all


@pytest.mark.parametrize("sink", [json_file, csv_file])
def test_a_file_that_was_not_finished_leaves_the_previous_one(tmp_path: Path, sink, gray, found):
    path = tmp_path / "out"
    path.write_text("previous")
    with pytest.raises(RuntimeError), sink(path, CLASSES) as write:
        write(Frame("a.png", gray()), found(40, 30))
        raise RuntimeError
    assert path.read_text() == "previous"
    assert list(tmp_path.iterdir()) == [path]
