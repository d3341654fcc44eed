"""Result files can be read back, and are complete or absent."""

import csv
import json
import os
from pathlib import Path

import pycocotools.mask as coco_masks
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from stageinteractor.errors import DataError
from stageinteractor.prediction import ClassMetadata, Frame
from stageinteractor.prediction.drawing import draw_detections
from stageinteractor.prediction.sinks import csv_sink, image_sink, json_sink
from stageinteractor.printable_text import encodable, printable

CLASSES = ClassMetadata(("cat", "dog"), (17, 18))


@pytest.fixture
def frames(gray):
    """An image, and two frames of a video."""
    return [
        Frame("sub/a.png", gray(), image_id=4),
        Frame("clip.mp4", gray(), number=0, fps=10.0, image_id=5),
        Frame("clip.mp4", gray(), number=1, fps=10.0, seconds=0.1, image_id=6),
    ]


def write_all(sink, frames, instances_of) -> None:
    with sink as write:
        for frame in frames:
            write(frame, instances_of(*frame.image.size))


# Images


def test_drawn_images_keep_their_names(tmp_path: Path, frames, instances_of):
    write_all(image_sink(tmp_path, CLASSES), frames, instances_of)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"sub/a.png", "clip.mp4/000000.jpg", "clip.mp4/000001.jpg"}


def test_frames_of_videos_are_drawn_on_request_only(tmp_path: Path, frames, instances_of):
    write_all(image_sink(tmp_path, CLASSES, frames=False), frames, instances_of)
    assert [path.name for path in tmp_path.rglob("*.*")] == ["a.png"]


@pytest.mark.parametrize("name", ["a.png", "a.JPG", "a.webp", "a.tif", "a"])
def test_drawn_images_keep_their_suffix_if_writable(tmp_path: Path, gray, instances_of, name):
    write_all(image_sink(tmp_path, CLASSES), [Frame(name, gray())], instances_of)
    (path,) = tmp_path.iterdir()
    assert path.name == {"a.tif": "a.tif.jpg", "a": "a.jpg"}.get(name, name)
    with Image.open(path) as image:
        assert image.size == (640, 480)


# COCO JSON


def test_json_is_in_coco_results_format(tmp_path: Path, frames, instances_of):
    write_all(json_sink(tmp_path / "out.json", CLASSES), frames, instances_of)
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


def test_masks_are_in_the_json_and_drawn(tmp_path: Path, gray, instances_of):
    """The masks, logits with 0 as the border, are read back by pycocotools; a mask tints."""
    instances = instances_of(40, 30)
    instances.pred_masks = torch.full((2, 30, 40), -1.0)
    instances.pred_masks[0, 5:20, 3:9] = 2.0
    with json_sink(tmp_path / "out.json", CLASSES) as write:
        write(Frame("a.png", gray(), image_id=4), instances)
    results = json.loads((tmp_path / "out.json").read_text())
    assert results[0]["segmentation"]["size"] == [30, 40]
    masks = [coco_masks.decode(result["segmentation"]) for result in results]
    assert (masks == (instances.pred_masks > 0).numpy()).all() and masks[0].sum() == 90
    drawn = [draw_detections(gray(), each, CLASSES) for each in (instances, instances_of(40, 30))]
    inside, outside = (6 * 16, 12 * 16), (15 * 16, 12 * 16)  # pixels, enlarged by 16
    assert drawn[0].getpixel(inside) != drawn[1].getpixel(inside)
    assert drawn[0].getpixel(outside) == drawn[1].getpixel(outside)


# CSV


def test_csv_has_one_row_per_detection(tmp_path: Path, frames, instances_of):
    classes = ClassMetadata(("cat", 'a "large", dog'))
    write_all(csv_sink(tmp_path / "out.csv", classes), frames, instances_of)
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

UNUSUAL_NAMES = [os.fsdecode(b"caf\xe9.png"), "\x1b[2J.png", "a\nb.png", "車.png", "a\udfff\x00b"]


@pytest.mark.parametrize("text", UNUSUAL_NAMES)
def test_unusual_names_give_valid_files(tmp_path: Path, gray, instances_of, text: str):
    classes = ClassMetadata((text, text))
    write_all(json_sink(tmp_path / "out.json", classes), [Frame(text, gray())], instances_of)
    write_all(csv_sink(tmp_path / "out.csv", classes), [Frame(text, gray())], instances_of)
    result = json.loads((tmp_path / "out.json").read_bytes())[0]
    assert result["file_name"] == result["category"] == encodable(text)
    result["file_name"].encode("utf-8")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file))
    assert row["file_name"] == row["class"] == printable(text)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_csv_escapes_formulas(tmp_path: Path, gray, instances_of, text: str):
    write_all(
        csv_sink(tmp_path / "out.csv", ClassMetadata((text, text))),
        [Frame(text, gray())],
        instances_of,
    )
    with (tmp_path / "out.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert row["class"] == row["file_name"] == printable(f"'{text}")
    assert float(row["score"]) and row["frame"] == ""


@pytest.mark.parametrize("text", UNUSUAL_NAMES)
def test_unusual_class_names_can_be_drawn(gray, instances_of, text: str):
    assert draw_detections(gray(), instances_of(40, 30), ClassMetadata((text, text))).size == (
        640,
        480,
    )


# Interrupted

ENDS = [RuntimeError, KeyboardInterrupt, SystemExit]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("sink", [json_sink, csv_sink])
def test_interrupted_table_keeps_its_rows(tmp_path, sink, gray, instances_of, end):
    whole, path = tmp_path / "whole", tmp_path / "out"
    write_all(sink(whole, CLASSES), [Frame("a.png", gray())], instances_of)
    path.write_text("previous")
    with pytest.raises(end), sink(path, CLASSES) as write:
        write(Frame("a.png", gray()), instances_of(40, 30))
        raise end
    assert path.read_text() == whole.read_text()
    assert sorted(tmp_path.iterdir()) == [path, whole]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("sink", [json_sink, csv_sink])
def test_interrupted_empty_table_keeps_the_previous_file(tmp_path, sink, end):
    (tmp_path / "out").write_text("previous")
    with pytest.raises(end), sink(tmp_path / "out", CLASSES):
        raise end
    assert (tmp_path / "out").read_text() == "previous"
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


@pytest.mark.parametrize("sink", [json_sink, csv_sink])
def test_table_is_flushed_after_every_frame(tmp_path: Path, sink, gray, instances_of):
    with sink(tmp_path / "out", CLASSES) as write:
        write(Frame("first.png", gray()), instances_of(40, 30))
        (unfinished,) = tmp_path.iterdir()
        assert "first.png" in unfinished.read_text()


@pytest.mark.parametrize(("name", "size"), [("a.jpg", (70_000, 10)), ("b.webp", (20_000, 10))])
def test_image_too_large_for_its_format(tmp_path, gray, instances_of, name, size):
    sink = image_sink(tmp_path, CLASSES)
    with pytest.raises(DataError, match=name):
        write_all(sink, [Frame(name, gray(size=size))], instances_of)
    assert list(tmp_path.iterdir()) == []
