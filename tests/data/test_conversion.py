"""YOLO and Pascal VOC sets become COCO JSON with the same boxes in pixels."""

import codecs
import os
from pathlib import Path
from xml.etree import ElementTree

import odd_images as odd
import pytest
from PIL import Image
from tally import count_fault

from stageinteractor.data.voc import convert_voc
from stageinteractor.data.yolo import convert_yolo
from stageinteractor.errors import DataError


def save(path: Path, width: int, height: int, orientation: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[274] = orientation
    Image.effect_noise((width, height), 50).save(path, exif=exif)


def boxes_by_name(content: dict) -> dict[str, list]:
    """(class name, box) of every object, by file name."""
    names = {category["id"]: category["name"] for category in content["categories"]}
    boxes: dict[int, list] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        boxes[annotation["image_id"]].append((names[annotation["category_id"]], annotation["bbox"]))
    return {image["file_name"]: boxes[image["id"]] for image in content["images"]}


# YOLO


def write_yolo(root: Path, layout: str = "ultralytics", names: str = "[cat, dog]") -> Path:
    """Three images: boxes, an outline in a rotated image, and none."""
    base = root / ("images/train" if layout == "ultralytics" else "train/images")
    save(base / "b.jpg", 60, 40)
    save(base / "a.jpg", 60, 40, orientation=6)  # is read as 40x60
    save(base / "C.PNG", 50, 50)
    labels = root / ("labels/train" if layout == "ultralytics" else "train/labels")
    labels.mkdir(parents=True)
    (labels / "b.txt").write_text("0 0.5 0.5 0.5 0.25\n1.0 0.25 0.25 0.1 0.1\n")
    (labels / "a.txt").write_text("1 0.25 0.5 0.75 0.5 0.75 0.75\n")
    text = {
        "ultralytics": f"path: .\ntrain: images/train\nnames: {names}\n",
        "roboflow": f"train: ../train/images\nnames: {names}\n",
    }
    (root / "data.yaml").write_text(text[layout])
    return root / "data.yaml"


@pytest.mark.parametrize("layout", ["ultralytics", "roboflow"])
@pytest.mark.parametrize("names", ["[cat, dog]", "{1: dog, 0: cat}"])
def test_yolo_boxes_become_pixels_of_the_turned_image(tmp_path, layout, names):
    content, folder = convert_yolo(write_yolo(tmp_path, layout, names), "train")
    assert content["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    assert boxes_by_name(content) == {
        "C.PNG": [],
        "a.jpg": [("dog", [10, 30, 20, 15])],
        "b.jpg": [("cat", [15, 15, 30, 10]), ("dog", [12, 8, 6, 4])],
    }
    sizes = {image["file_name"]: (image["width"], image["height"]) for image in content["images"]}
    assert sizes == {"C.PNG": (50, 50), "a.jpg": (40, 60), "b.jpg": (60, 40)}
    assert [annotation["area"] for annotation in content["annotations"]] == [300, 300, 24]
    assert {annotation["iscrowd"] for annotation in content["annotations"]} == {0}
    assert (folder / "b.jpg").is_file()


def test_boxes_with_keypoints_are_those_of_data_yaml(tmp_path):
    data = write_yolo(tmp_path)
    (tmp_path / "labels/train/b.txt").write_text("0 0.5 0.5 0.5 0.25 0.1 0.1 2\n")
    with pytest.raises(DataError, match="line 1"):
        convert_yolo(data, "train")
    data.write_text(data.read_text() + "kpt_shape: [1, 3]\n")
    content, _ = convert_yolo(data, "train")
    assert boxes_by_name(content)["b.jpg"] == [("cat", [15, 15, 30, 10])]


@pytest.mark.parametrize("line", ["0 0.5 0.5", "0 x 0.5 0.5 0.5", "7 0.5 0.5 0.5 0.5"])
def test_a_bad_label_is_refused_with_its_file(tmp_path, line):
    data = write_yolo(tmp_path)
    (tmp_path / "labels/train/b.txt").write_text(line)
    with pytest.raises(DataError, match=r"b\.(txt|jpg)") as caught:
        convert_yolo(data, "train")
    assert "\n" not in str(caught.value)


def test_incomplete_yolo_sets_are_refused(tmp_path):
    data = write_yolo(tmp_path)
    with pytest.raises(DataError, match="no such file; give the data.yaml"):
        convert_yolo(tmp_path / "nothing.yaml", "train")
    with pytest.raises(DataError, match="'val' must name one folder of images, not 'nothing'"):
        convert_yolo(data, "val")
    data.write_text("train: images/train\nnames: [a\n")
    with pytest.raises(DataError, match="not readable as YAML: while parsing") as caught:
        convert_yolo(data, "train")
    assert "\n" not in str(caught.value)
    data.write_text("- train\n")
    with pytest.raises(DataError, match=r"must name one folder of images, not \['train'\]"):
        convert_yolo(data, "train")
    data.write_text("train: elsewhere\nnames: [a]\n")
    with pytest.raises(DataError, match="no such folder of images"):
        convert_yolo(data, "train")
    data.write_text("train: images/train\n")
    with pytest.raises(DataError, match="names"):
        convert_yolo(data, "train")
    data.write_text("train: images\nnames: [cat, dog]\n")
    with pytest.raises(DataError, match="3 images lie in subfolders"):
        convert_yolo(data, "train")
    (tmp_path / "empty").mkdir()
    data.write_text("path: .\ntrain: empty\nnames: [cat, dog]\n")
    (tmp_path / "empty/labels").mkdir()
    with pytest.raises(DataError, match="no images in this folder"):
        convert_yolo(data, "train")
    data.write_text("train: images/train\nnames: [cat, dog]\n")
    (tmp_path / "labels").rename(tmp_path / "texts")
    with pytest.raises(DataError, match="labels/train: no such folder"):
        convert_yolo(data, "train")


# Pascal VOC


def write_xml(path: Path, objects: list[tuple[str, tuple[int, int, int, int]]]) -> None:
    root = ElementTree.Element("annotation")
    for name, corners in objects:
        entry = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(entry, "name").text = name
        box = ElementTree.SubElement(entry, "bndbox")
        for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True):
            ElementTree.SubElement(box, tag).text = str(value)
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(root).write(path)


def write_voc(root: Path) -> Path:
    """VOC's own layout: two images in train, one in val with a class of its own."""
    objects = {
        "1": [("dog", (1, 1, 60, 40)), ("cat", (11, 6, 30, 15))],
        "2": [],
        "3": [("ant", (2, 2, 9, 9))],
    }
    for name, listed in objects.items():
        save(root / f"JPEGImages/{name}.jpg", 60, 40)
        write_xml(root / f"Annotations/{name}.xml", listed)
    (root / "ImageSets/Main").mkdir(parents=True)
    (root / "ImageSets/Main/train.txt").write_text("2\n1\n")
    (root / "ImageSets/Main/val.txt").write_text("3  1\n")
    return root


EXPECTED = {"1.jpg": [("dog", [0, 0, 60, 40]), ("cat", [10, 5, 20, 10])], "2.jpg": []}


def test_voc_splits_follow_their_lists_and_share_classes(tmp_path):
    train, folder = convert_voc(write_voc(tmp_path), "train")
    val, _ = convert_voc(tmp_path, "val")
    assert boxes_by_name(train) == EXPECTED
    assert boxes_by_name(val) == {"3.jpg": [("ant", [1, 1, 8, 8])]}
    assert train["categories"] == val["categories"]
    assert [category["name"] for category in val["categories"]] == ["ant", "cat", "dog"]
    assert folder == tmp_path / "JPEGImages"


def test_voc_sets_that_cannot_be_read_are_refused(tmp_path):
    write_voc(tmp_path)
    with pytest.raises(DataError, match="test.txt: no such file"):
        convert_voc(tmp_path, "test")
    with pytest.raises(DataError, match="neither a folder Annotations nor a folder train"):
        convert_voc(tmp_path / "JPEGImages", "train")
    listed = tmp_path / "ImageSets/Main/train.txt"
    for line, reason in (
        (b"77", "1 images of the split are missing, as 77"),
        (b"\xe4", r"train\.txt is not readable as UTF-8"),
    ):
        listed.write_bytes(b"1\n" + line)
        with pytest.raises(DataError, match=reason):
            convert_voc(tmp_path, "train")
    listed.write_text("2\n1\n")
    write_xml(tmp_path / "Annotations/2.xml", [("a", (1, 1, "wide", 9))])
    broken = (tmp_path / "Annotations/2.xml").read_text()
    none = broken.replace("wide", "nan")
    for text in (broken, none, "<annotation><object><name>a</name></object></annotation>", "<a>"):
        (tmp_path / "Annotations/2.xml").write_text(text)
        with pytest.raises(DataError, match="2.xml"):
            convert_voc(tmp_path, "train")


@pytest.mark.parametrize("name", ["bomb: png", "bomb: gif", "bomb: jpeg", "text", "no bytes"])
@pytest.mark.parametrize("kind", ["voc", "yolo"])
def test_unreadable_images_are_named_before_conversion(tmp_path, kind, name):
    data, reason = odd.BAD[name]()
    folder = tmp_path / ("train" if kind == "voc" else "images/train")
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(data)
    box = "<xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax>"
    text = f"<annotation><object><name>x</name><bndbox>{box}</bndbox></object></annotation>"
    (folder / "a.xml").write_text(text)
    (tmp_path / "labels" / "train").mkdir(parents=True)
    (tmp_path / "labels" / "train" / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: [x]\n")
    with pytest.raises(DataError, match=r"a\.jpg: ") as caught:
        convert_voc(tmp_path, "train") if kind == "voc" else convert_yolo(
            tmp_path / "data.yaml", "train"
        )
    assert reason in str(caught.value)
    count_fault("bad image")


def test_entities_that_grow_without_end_are_refused(tmp_path):
    (tmp_path / "train").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "train" / "a.jpg")
    names = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10))
    head = f'<!DOCTYPE x [<!ENTITY a0 "ha">{names}]>'
    text = f"{head}<annotation><object><name>&a9;</name></object></annotation>"
    (tmp_path / "train" / "a.xml").write_text(text)
    with pytest.raises(DataError, match=r"a\.xml is not readable as XML"):
        convert_voc(tmp_path, "train")
    count_fault("bad input")


# Files of other kinds


def begin_with_mark(path: Path) -> None:
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())


def test_yolo_files_may_begin_with_a_byte_order_mark(tmp_path):
    data = write_yolo(tmp_path)
    (tmp_path / "labels/train/C.txt").write_text("")  # no objects
    expected, _ = convert_yolo(data, "train")
    begin_with_mark(data)
    begin_with_mark(tmp_path / "labels/train/b.txt")
    content, _ = convert_yolo(data, "train")
    assert content == expected
    assert boxes_by_name(content)["b.jpg"][0] == ("cat", [15, 15, 30, 10])


def test_a_yaml_bomb_is_refused_by_its_name(tmp_path):
    data = write_yolo(tmp_path)
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    data.write_text("\n".join([*lines, "train: *a9", "names: [a]"]))
    with pytest.raises(DataError, match=r"data\.yaml is not readable as YAML") as caught:
        convert_yolo(data, "train")
    assert len(str(caught.value)) < 1000
    count_fault("bad input")


def test_a_bad_label_beside_a_byte_order_mark_is_named(tmp_path):
    data = write_yolo(tmp_path)
    begin_with_mark(tmp_path / "labels/train/b.txt")
    (tmp_path / "labels/train/a.txt").write_text("0 x 0.5 0.5 0.5")
    with pytest.raises(DataError, match=f"{tmp_path}/labels/train/a.txt"):
        convert_yolo(data, "train")


@pytest.mark.parametrize("name", ["data.yaml", "images/train/b.jpg", "labels/train/b.txt"])
def test_fifos_in_a_yolo_set_are_not_waited_for(tmp_path, name):
    data = write_yolo(tmp_path)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=rf"{name}.* is a FIFO"):
        convert_yolo(data, "train")
    count_fault("special file")
