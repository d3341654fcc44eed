"""A copy of COCO is checked against COCO's numbers; those of the test are smaller."""

import hashlib
import json

import pytest

from stageinteractor.cli.datasets import main
from stageinteractor.data import coco_2017
from stageinteractor.data.coco_2017 import SPLITS, check_coco


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A complete copy of a COCO of three images and two categories."""
    monkeypatch.setattr(coco_2017, "CATEGORIES", 2)
    monkeypatch.setattr(
        coco_2017,
        "SPLITS",
        [split._replace(num_images=3, annotations=split.annotations and 4) for split in SPLITS],
    )
    folder = tmp_path / "coco"
    (folder / "annotations").mkdir(parents=True)
    for split in SPLITS:
        (folder / split.images).mkdir()
        names = [f"{number:012d}.jpg" for number in range(1, 4)]
        content = {
            "images": [{"id": n, "file_name": name} for n, name in enumerate(names, 1)],
            "categories": [{"id": 1}, {"id": 90}],
        }
        if split.annotations:
            content["annotations"] = [{"id": n} for n in range(4)]
        (folder / split.json).write_text(json.dumps(content))
        for name in names:
            (folder / split.images / name).touch()
    return folder


def problems(folder):
    return [checked.text for checked in check_coco(str(folder)) if checked.is_fault]


def test_numbers_of_coco():
    numbers = [(split.num_images, split.annotations) for split in SPLITS]
    assert numbers == [(118287, 860001), (5000, 36781), (20288, None)]


def test_a_complete_copy_has_no_problem(copy, monkeypatch, capsys):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(copy.parent))
    monkeypatch.setattr("sys.argv", ["datasets", "coco"])
    assert main() == 0
    assert "3 images, 2 categories, 4 boxes; all image files are there" in capsys.readouterr().out


def test_what_is_missing_is_named(copy, monkeypatch, capsys):
    (copy / "val2017/000000000002.jpg").unlink()
    (copy / SPLITS[2].json).unlink()  # needed for submissions only
    content = json.loads((copy / SPLITS[0].json).read_text())
    content["annotations"].pop()
    (copy / SPLITS[0].json).write_text(json.dumps(content))
    monkeypatch.setattr("sys.argv", ["datasets", "coco", "--from", str(copy)])
    assert main() == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("problem")]
    assert len(lines) == 2
    assert "instances_train2017.json: 3 boxes, COCO has 4" in lines[0]
    assert "1 of 3 images are missing, such as 000000000002.jpg; unpack val2017.zip" in lines[1]


def test_files_that_are_not_there_are_named(copy):
    (copy / SPLITS[1].json).write_text("[]")
    (copy / SPLITS[0].json).unlink()
    train, val = problems(copy)
    assert "train2017.json" in train and "val2017.json" in val
    names = {"images": [{"file_name": 3}], "categories": []}
    (copy / SPLITS[1].json).write_text(json.dumps(names))
    assert "such as 3" in problems(copy)[-1]
    (text,) = problems(copy / "no")
    assert "DETECTRON2_DATASETS" in text


def test_archives_are_compared_with_their_sums(copy, monkeypatch):
    archive = copy / "val2017.zip"
    archive.write_bytes(b"images")
    assert any("val2017.zip: MD5" in text for text in problems(copy))
    monkeypatch.setitem(coco_2017.ARCHIVES, archive.name, hashlib.md5(b"images").hexdigest())
    assert problems(copy) == []
