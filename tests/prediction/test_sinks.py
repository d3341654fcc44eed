"""What is written can be read again, and is either complete or not there."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from stageinteractor.errors import DataError
from stageinteractor.prediction import ClassMetadata, Frame
from stageinteractor.prediction.drawing import SMALLEST, draw_detections
from stageinteractor.prediction.sinks import csv_file, image_folder, json_file
from stageinteractor.printable_text import encodable, printable
from stageinteractor.visualization.box_drawing import class_color

CLASSES = ClassMetadata(("cat", "dog"), (17, 18))


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
    write_all(image_folder(tmp_path, CLASSES), frames, found)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"sub/a.png", "clip.mp4/000000.jpg", "clip.mp4/000001.jpg"}


def test_frames_of_videos_are_not_drawn_unless_asked_for(tmp_path: Path, frames, found):
    write_all(image_folder(tmp_path, CLASSES, frames=False), frames, found)
    assert [path.name for path in tmp_path.rglob("*.*")] == ["a.png"]


@pytest.mark.parametrize("name", ["a.png", "a.JPG", "a.webp", "a.tif", "a"])
def test_pictures_keep_their_kind_if_it_can_show_colours(tmp_path: Path, gray, found, name):
    write_all(image_folder(tmp_path, CLASSES), [Frame(name, gray())], found)
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
    classes = ClassMetadata(("cat", 'a "large", dog'))
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


# Texts from data

ODD_NAMES = [os.fsdecode(b"caf\xe9.png"), "\x1b[2J.png", "a\nb.png", "車.png", "a\udfff\x00b"]


@pytest.mark.parametrize("text", ODD_NAMES)
def test_odd_names_leave_valid_files(tmp_path: Path, gray, found, text: str):
    classes = ClassMetadata((text, text))
    write_all(json_file(tmp_path / "out.json", classes), [Frame(text, gray())], found)
    write_all(csv_file(tmp_path / "out.csv", classes), [Frame(text, gray())], found)
    result = json.loads((tmp_path / "out.json").read_bytes())[0]
    assert result["file_name"] == result["category"] == encodable(text)
    result["file_name"].encode("utf-8")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file))
    assert row["file_name"] == row["class"] == printable(text)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_csv_texts_are_no_formulas(tmp_path: Path, gray, found, text: str):
    write_all(
        csv_file(tmp_path / "out.csv", ClassMetadata((text, text))), [Frame(text, gray())], found
    )
    with (tmp_path / "out.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert row["class"] == row["file_name"] == printable(f"'{text}")
    assert float(row["score"]) and row["frame"] == ""


def test_csv_numbers_stay_numbers(tmp_path: Path, gray, found):
    outside = found(40, 30)
    outside.pred_boxes.tensor -= 50
    with csv_file(tmp_path / "out.csv", CLASSES) as write:
        write(Frame("a.png", gray()), outside)
    with (tmp_path / "out.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["x_min"] == "-50.00"


@pytest.mark.parametrize("text", ODD_NAMES)
def test_odd_class_names_can_be_drawn(gray, found, text: str):
    assert draw_detections(gray(), found(40, 30), ClassMetadata((text, text))).size == (640, 480)


# Ended early

ENDS = [RuntimeError, KeyboardInterrupt, SystemExit]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("sink", [json_file, csv_file])
def test_a_table_that_is_ended_early_holds_what_it_has_got(tmp_path, sink, gray, found, end):
    whole, path = tmp_path / "whole", tmp_path / "out"
    write_all(sink(whole, CLASSES), [Frame("a.png", gray())], found)
    path.write_text("previous")
    with pytest.raises(end), sink(path, CLASSES) as write:
        write(Frame("a.png", gray()), found(40, 30))
        raise end
    assert path.read_text() == whole.read_text()
    assert sorted(tmp_path.iterdir()) == [path, whole]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("sink", [json_file, csv_file])
def test_a_table_that_has_got_nothing_leaves_the_previous_one(tmp_path, sink, end):
    (tmp_path / "out").write_text("previous")
    with pytest.raises(end), sink(tmp_path / "out", CLASSES):
        raise end
    assert (tmp_path / "out").read_text() == "previous"
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


@pytest.mark.parametrize("sink", [json_file, csv_file])
def test_a_table_is_written_as_detections_come(tmp_path: Path, sink, gray, found):
    with sink(tmp_path / "out", CLASSES) as write:
        write(Frame("first.png", gray()), found(40, 30))
        (unfinished,) = tmp_path.iterdir()
        assert "first.png" in unfinished.read_text()


@pytest.mark.parametrize(("name", "size"), [("a.jpg", (70_000, 10)), ("b.webp", (20_000, 10))])
def test_a_picture_too_large_for_its_format_is_named(tmp_path, gray, found, name, size):
    sink = image_folder(tmp_path, CLASSES)
    with pytest.raises(DataError, match=name):
        write_all(sink, [Frame(name, gray(size=size))], found)
    assert list(tmp_path.iterdir()) == []
