"""Data sets that are read from a clone; the clones are tiny ones of the published form."""

import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from bccd_clone import SPLITS, write_bccd_clone
from PIL import Image

from stageinteractor.api import read_config
from stageinteractor.cli.main import main
from stageinteractor.data.blood_cells import prepare_blood_cells
from stageinteractor.data.checks import check_content, read_set
from stageinteractor.data.coco_format import read_coco
from stageinteractor.data.diagrams import CLASSES, prepare_diagrams, read_shapes
from stageinteractor.errors import DataError


def assert_no_errors(folder: Path) -> None:
    for split in SPLITS:
        content, files = read_set(str(folder / f"{split}.json"), str(folder / split))
        assert check_content(content, folder / split, files, 60, split).num_errors == 0


# Blood cells


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    return write_bccd_clone(tmp_path / "BCCD_Dataset")


def test_blood_cells_keep_their_published_splits(cells: Path, tmp_path: Path):
    out = tmp_path / "cells"
    assert prepare_blood_cells(cells, out) is True
    assert_no_errors(out)
    for number, split in enumerate(SPLITS):
        coco_set = read_coco(out / f"{split}.json")
        name = f"BloodImage_{number:05d}.jpg"
        assert [image["file_name"] for image in coco_set.images] == [name]
        assert coco_set.class_names == ["RBC", "WBC"]
        assert [each["category_id"] for each in coco_set.annotations] == [2] + [1] * number
        assert coco_set.annotations[0]["bbox"] == [0, 0, 10, 20]
        copied, original = out / split / name, cells / "BCCD/JPEGImages" / name
        assert copied.read_bytes() == original.read_bytes()


def test_folder_bccd_may_be_given_itself(cells: Path, tmp_path: Path):
    assert prepare_blood_cells(cells / "BCCD", tmp_path / "cells") is True


@pytest.mark.parametrize("prepare", [prepare_blood_cells, prepare_diagrams])
def test_another_folder_is_refused_with_the_address(prepare, tmp_path: Path):
    (tmp_path / "clone").mkdir()
    with pytest.raises(DataError, match="https://github.com/"):
        prepare(tmp_path / "clone", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["clone"]


@pytest.mark.parametrize("prepare", [prepare_blood_cells, prepare_diagrams])
def test_an_existing_folder_is_kept(prepare, tmp_path: Path):
    assert prepare(tmp_path / "nothing", tmp_path) is False
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_a_set_with_a_missing_image(cells: Path, tmp_path: Path):
    (cells / "BCCD/JPEGImages/BloodImage_00002.jpg").unlink()
    with pytest.raises(DataError, match="BloodImage_00002"):
        prepare_blood_cells(cells, tmp_path / "cells")
    assert [path.name for path in tmp_path.iterdir()] == ["BCCD_Dataset"]


# Diagrams

SHAPES = [  # tag, definition of an event, x, y, width, height in pixels of an editor 400 wide
    ("task", None, 100, 40, 80, 40),
    ("startEvent", "messageEventDefinition", 10, 10, 20, 20),
    ("endEvent", "terminateEventDefinition", 380, 190, 40, 20),  # over the edge
    ("intermediateCatchEvent", "timerEventDefinition", 200, 100, 20, 20),
    ("inclusiveGateway", None, 50, 50, 20, 20),  # a rare kind, left out
]
EXPECTED = [  # in the image, 640 wide
    ("task", [160, 64, 128, 64]),
    ("messageStartEvent", [16, 16, 32, 32]),
    ("endEvent", [608, 304, 32, 16]),
    ("timerIntermediateCatchEvent", [320, 160, 32, 32]),
]


def bpmn(background: str = '<!-- {"backgroundSize":400} -->') -> str:
    """A file as the annotation tool writes it: elements of the model, then shapes with bounds."""
    spec = "http://www.omg.org/spec"
    elements, shapes = [], []
    for number, (tag, definition, x, y, width, height) in enumerate(SHAPES):
        inner = f"<{definition}/>" if definition else ""
        elements.append(f'<{tag} id="e{number}">{inner}</{tag}>')
        bounds = f'<dc:Bounds x="{x}" y="{y}" width="{width}" height="{height}"/>'
        label = '<di:BPMNLabel><dc:Bounds x="0" y="0" width="9" height="9"/></di:BPMNLabel>'
        shapes.append(f'<di:BPMNShape bpmnElement="e{number}">{bounds}{label}</di:BPMNShape>')
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n{background}\n'
        f'<definitions xmlns="{spec}/BPMN/20100524/MODEL" xmlns:di="{spec}/BPMN/20100524/DI" '
        f'xmlns:dc="{spec}/DD/20100524/DC"><process id="p">{"".join(elements)}</process>'
        f'<di:BPMNDiagram><di:BPMNPlane bpmnElement="p">{"".join(shapes)}</di:BPMNPlane>'
        "</di:BPMNDiagram></definitions>"
    )


@pytest.fixture
def diagrams(tmp_path: Path) -> Path:
    """One drawing of 1280x640 pixels by each of three writers, one in each split."""
    data = tmp_path / "hdBPMN/data"
    lines = ["writer,split"]
    for number, split in enumerate(SPLITS):
        name = f"ex0{number}_writer000{number}"
        for part in ("annotations", "images"):
            (data / part / f"ex0{number}").mkdir(parents=True)
        image = Image.fromarray(np.full((640, 1280), 255, dtype=np.uint8))  # grey
        image.save(data / f"images/ex0{number}/{name}.{'png' if number else 'jpg'}")
        (data / f"annotations/ex0{number}/{name}.bpmn").write_text(bpmn())
        lines.append(f"writer000{number},{split}")
    (data / "writer_split.csv").write_text("\n".join(lines))
    return data.parent


def test_diagrams_are_reduced_and_split_by_writer(diagrams: Path, tmp_path: Path):
    out = tmp_path / "diagrams"
    assert prepare_diagrams(diagrams, out) is True
    assert_no_errors(out)
    for number, split in enumerate(SPLITS):
        coco_set = read_coco(out / f"{split}.json")
        assert coco_set.class_names == list(CLASSES) == sorted(CLASSES)
        (image,) = coco_set.images
        assert (image["width"], image["height"]) == (640, 320)
        assert image["file_name"] == f"ex0{number}_writer000{number}.jpg"
        with Image.open(out / split / image["file_name"]) as reduced:
            assert reduced.size == (640, 320) and reduced.format == "JPEG"
        names = [coco_set.names_of_categories[a["category_id"]] for a in coco_set.annotations]
        boxes = [each["bbox"] for each in coco_set.annotations]
        assert list(zip(names, boxes, strict=True)) == EXPECTED


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("</definitions>", "", "XML"),
        ('<!-- {"backgroundSize":400} -->', "", "backgroundSize"),
        ('"backgroundSize":400', '"backgroundSize":0', "backgroundSize"),
        ('x="100"', 'x="wide"', "Bounds"),
        ('x="100"', 'x="nan"', "Bounds"),
        ('x="100" ', "", "Bounds"),
        ("dc:Bounds", "dc:Limits", "Bounds"),
    ],
)
def test_a_broken_drawing_is_named(old: str, new: str, word: str, tmp_path: Path):
    path = tmp_path / "a.bpmn"
    assert old in bpmn()
    path.write_text(bpmn().replace(old, new))
    with pytest.raises(DataError, match=rf"a\.bpmn.*{word}"):
        read_shapes(path, 640, 320)


def test_a_drawing_without_image_or_writer_is_named(diagrams: Path, tmp_path: Path):
    data = diagrams / "data"
    (data / "images/ex01/ex01_writer0001.png").rename(data / "images/ex01/other.png")
    with pytest.raises(DataError, match="ex01_writer0001"):
        prepare_diagrams(diagrams, tmp_path / "out")
    (data / "writer_split.csv").write_text("writer,split\n")
    with pytest.raises(DataError, match="ex00_writer0000"):
        prepare_diagrams(diagrams, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_tiny_drawing_is_well_formed():
    assert ElementTree.fromstring(bpmn()).tag.endswith("definitions")


# The command and the configs


def test_the_command_prepares_and_draws(cells: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["datasets", "blood_cells", "--from", str(cells)]
    assert main([*command, "--sheet", "sheet.png"]) == 0
    assert Image.open("sheet.png").width > 64
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines() == [
        "datasets/blood_cells: made",
        "datasets/blood_cells: exists, kept",
    ]


@pytest.mark.parametrize(
    "arguments", [["diagrams"], ["digits_in_photos", "--from", "somewhere"], ["blood_cells"]]
)
def test_a_clone_is_for_the_cloned_sets_only(arguments, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["datasets"])
    with pytest.raises(SystemExit):
        main(["datasets", *arguments])
    assert "--from" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["blood_cells", "diagrams"])
def test_a_training_without_the_set_says_how_to_prepare_it(name, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=f"git clone .*datasets {name} --from"):
        read_config(name, ("model.backbone.weights=null",))
    read_config(name, ("model.backbone.weights=null", "dataset.train.json=mine.json"))


@pytest.mark.parametrize(("name", "side"), [("blood_cells", 341), ("diagrams", 512)])
def test_the_long_side_of_a_test_image(name: str, side: int):
    from detectron2.config import instantiate
    from detectron2.data import transforms as T

    cfg = read_config(name, ("model.backbone.weights=null", "dataset.train.json=mine.json"))
    steps = [instantiate(each) for each in cfg.dataloader.test.mapper.augmentations]
    given = T.AugInput(np.zeros((480, 640, 3), dtype=np.uint8))
    T.AugmentationList(steps)(given)
    assert max(given.image.shape[:2]) == side
