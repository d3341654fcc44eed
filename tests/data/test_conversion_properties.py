"""Whatever is in a YOLO or Pascal VOC set: it is converted, or a DataError says why not."""

import json
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from strategies import examples
from tally import count_fault

from stageinteractor.data.coco_format import read_coco
from stageinteractor.data.voc import convert_voc
from stageinteractor.data.yolo import convert_yolo
from stageinteractor.errors import DataError

values = st.one_of(
    st.integers(-2, 70),
    st.floats(-0.5, 1.5),
    st.sampled_from(["nan", "inf", "", "x", "1e400", "0.5.5", "-", 10**30]),
)
lines = st.lists(st.one_of(values, st.integers(0, 1)), max_size=8).map(
    lambda row: " ".join(map(str, row))
)
labels = st.one_of(
    st.lists(lines, max_size=3).map("\n".join),
    st.just("0 0.5 0.5 0.2 0.2\n1 0.25 0.25 0.5 0.5"),
    st.text(st.characters(codec="utf-8"), max_size=20),
)
names = st.one_of(
    st.just(["cat", "dog"]),
    st.just({0: "cat", 1: "dog"}),
    st.recursive(
        st.one_of(st.none(), st.integers(), st.text(max_size=3)),
        lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.integers(0, 3), inner)),
        max_leaves=4,
    ),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A folder with an image of 60x40 pixels in images/train; labels are written beside it."""
    root = tmp_path_factory.mktemp("set")
    for folder in ("images/train", "labels/train", "voc/train"):
        (root / folder).mkdir(parents=True)
    for folder in ("images/train", "voc/train"):
        Image.new("RGB", (60, 40)).save(root / folder / "a.png")
    return root


def assert_readable_or_refused(convert, source: Path, root: Path) -> None:
    try:
        content, _ = convert(source, "train")
        (root / "set.json").write_text(json.dumps(content))
        read_coco(root / "set.json")
    except DataError as error:
        assert str(root) in str(error) and len(str(error).splitlines()) == 1
        count_fault("bad input")


@given(label=labels, classes=names)
@examples(1.5)
def test_any_label_file_of_yolo(root: Path, label: str, classes: object):
    (root / "labels/train/a.txt").write_text(label)
    (root / "data.yaml").write_text(yaml.safe_dump({"train": "images/train", "names": classes}))
    assert_readable_or_refused(convert_yolo, root / "data.yaml", root)


@given(content=st.one_of(st.binary(max_size=40), st.text(max_size=40).map(str.encode)))
def test_any_data_yaml(root: Path, content: bytes):
    (root / "labels/train/a.txt").write_text("0 0.5 0.5 0.2 0.2")
    (root / "data.yaml").write_bytes(content)
    assert_readable_or_refused(convert_yolo, root / "data.yaml", root)


@given(content=st.binary(max_size=40))
def test_any_bytes_as_labels_of_yolo(root: Path, content: bytes):
    (root / "labels/train/a.txt").write_bytes(content)
    (root / "data.yaml").write_text("train: images/train\nnames: [cat, dog]")
    assert_readable_or_refused(convert_yolo, root / "data.yaml", root)


@given(
    corners=st.lists(st.one_of(values, st.integers(1, 40)), min_size=3, max_size=5),
    name=st.one_of(st.just("cat"), st.text(st.characters(codec="utf-8"), max_size=4)),
    size=st.lists(values, max_size=2),
)
def test_any_object_of_pascal_voc(root: Path, corners: list, name: str, size: list):
    tags = zip(("xmin", "ymin", "xmax", "ymax", "xmin"), corners, strict=False)
    box = "".join(f"<{tag}>{value}</{tag}>" for tag, value in tags)
    sides = zip(("width", "height"), size, strict=False)
    shape = "".join(f"<{tag}>{value}</{tag}>" for tag, value in sides)
    entry = f"<object><name>{escape(name)}</name><bndbox>{box}</bndbox></object>"
    text = f"<annotation><size>{shape}</size>{entry}</annotation>"
    (root / "voc/train/a.xml").write_text(text)
    assert_readable_or_refused(convert_voc, root / "voc", root)


@given(content=st.one_of(st.binary(max_size=40), st.just(b"<annotation/>"), st.just(b"")))
@examples(0.5)
def test_any_bytes_as_xml(root: Path, content: bytes):
    (root / "voc/train/a.xml").write_bytes(content)
    assert_readable_or_refused(convert_voc, root / "voc", root)
