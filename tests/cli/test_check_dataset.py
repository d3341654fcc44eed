"""stageinteractor check: what it prints and writes, and its exit codes."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stageinteractor.data.coco_format import read_coco

Json = dict[str, Any]
VOC_LABEL = """<annotation><filename>1.png</filename>
<size><width>60</width><height>40</height><depth>3</depth></size><object><name>cat</name><bndbox>
<xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>20</ymax></bndbox></object></annotation>"""


@pytest.fixture(scope="module")
def tool(load_tool) -> ModuleType:
    return load_tool("check")


@pytest.fixture
def small_set(tmp_path: Path) -> Json:
    """Four images of 60x40 with three objects each, in tmp_path/train."""
    (tmp_path / "train").mkdir()
    content: Json = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    for number in range(1, 5):
        name = f"{number}.png"
        Image.new("RGB", (60, 40), (number, 0, 0)).save(tmp_path / "train" / name)
        content["images"].append({"id": number, "file_name": name, "width": 60, "height": 40})
        for position in range(3):
            annotation = {"id": len(content["annotations"]) + 1, "image_id": number}
            box = [5 * position, number, 10, 8]
            content["annotations"].append(annotation | {"category_id": 1, "bbox": box, "area": 80})
    return content


@pytest.fixture
def run(tool, tmp_path, small_set, capsys):
    """Write the set as it is by now, check it, and return exit code, output and errors."""

    def call(*options: str) -> tuple[int, str, str]:
        (tmp_path / "train.json").write_text(json.dumps(small_set))
        code = tool.main([f"{tmp_path}/train.json", f"{tmp_path}/train", *options])
        return (code, *capsys.readouterr())

    return call


def break_boxes(content: Json) -> None:
    """Seven negative boxes, one box twice."""
    for annotation in content["annotations"][:7]:
        x, y, width, height = annotation["bbox"]
        annotation["bbox"] = [x + width, y, -width, height]
    content["annotations"].append(content["annotations"][-1] | {"id": 99})


def test_a_good_set(run):
    code, output, errors = run()
    assert (code, errors) == (0, "")
    assert (
        "images: 4 (0 without objects), objects: 12 (0 crowds), classes: 1" in output
        and "no problems" in output
    )


def test_a_table_and_some_lines_of_every_kind(run, small_set):
    break_boxes(small_set)
    code, output, _ = run()
    assert code == 1
    rows = [line.split() for line in output.splitlines()]
    assert ["error", "box", "of", "negative", "size", "7"] in rows
    assert ["warning", "duplicate", "box", "1"] in rows
    lines = [line for line in output.splitlines() if line.startswith("  annotation id")]
    assert len(lines) == 5 + 1
    assert lines[0] == (
        "  annotation id 1, image id 1 (1.png): box [10, 1, -10, 8] in an image of 60x40: "
        "its corners are swapped: swap them back"
    )
    assert "  ... and 2 more (--all)" in output


def test_all_lists_every_finding(run, small_set):
    break_boxes(small_set)
    _, output, _ = run("--all")
    assert output.count("  annotation id") == 8 and "more (" not in output


def test_warnings_alone_are_no_failure(run, small_set):
    code, output, _ = run("--num-queries", "2")
    assert code == 0
    assert "image id 4 (4.png): 3 objects, 2 queries: raise model.queries.num_queries" in output


def test_the_report_holds_everything(run, small_set, tmp_path):
    break_boxes(small_set)
    code, output, _ = run("--report", f"{tmp_path}/sub/report.json")
    report = json.loads((tmp_path / "sub/report.json").read_text())
    assert report["counts"] == {"box_negative": 7, "same_box": 1}
    assert (report["num_errors"], report["num_warnings"], report["num_images"]) == (7, 1, 4)
    assert report["class_counts"] == {"cat": 13}
    assert len(report["findings"]) == 8
    assert report["findings"][0]["annotation_id"] == 1
    assert report["findings"][0]["file_name"] == "1.png"


def widen(content: Json) -> None:
    """Seven boxes over the edge."""
    for annotation in content["annotations"][:7]:
        annotation["bbox"][2] = 90


def test_fix_writes_a_file_beside_that_passes(run, small_set, tmp_path, tool):
    widen(small_set)
    code, output, _ = run("--fix", "--report", f"{tmp_path}/report.json")
    assert code == 0
    assert json.loads((tmp_path / "train.json").read_text()) == small_set
    fixed = tmp_path / "train.fixed.json"
    boxes = [annotation["bbox"] for annotation in read_coco(fixed).annotations]
    assert len(boxes) == 12 and boxes[0] == [0, 1, 60, 8]
    assert "7 changes" in output and "clipped: 7" in output and f"written: {fixed}" in output
    assert len((tmp_path / "train.fixed.txt").read_text().splitlines()) == 7
    assert len(json.loads((tmp_path / "report.json").read_text())["changes"]) == 7
    assert tool.main([str(fixed), f"{tmp_path}/train"]) == 0


def test_fix_of_a_good_set_writes_nothing(run, tmp_path):
    code, output, _ = run("--fix")
    assert code == 0 and {path.name for path in tmp_path.iterdir()} == {"train", "train.json"}


def test_fix_reports_what_it_cannot_repair(run, small_set, tmp_path):
    widen(small_set)
    small_set["annotations"][8]["bbox"] = [30, 5, -10, 8]
    code, output, _ = run("--fix")
    assert code == 1
    left = output[output.index("not repaired") :]
    assert "annotation id 9" in left and "annotation id 1," not in left
    assert (tmp_path / "train.fixed.json").exists()


def test_histograms_are_images(run, tmp_path):
    code, output, _ = run("--histograms", f"{tmp_path}/plots")
    for name in ("classes.png", "boxes.png"):
        pixels = np.asarray(Image.open(tmp_path / "plots" / name).convert("RGB"))
        assert (pixels == (31, 119, 180)).all(-1).any()


@pytest.mark.parametrize("text", [None, "{", "[]", '{"images": []}'])
def test_input_that_cannot_be_used(tool, tmp_path, capsys, text):
    (tmp_path / "train").mkdir()
    if text is not None:
        (tmp_path / "train.json").write_text(text)
    assert tool.main([f"{tmp_path}/train.json", f"{tmp_path}/train"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and errors[0].startswith(f"error: {tmp_path}/train.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.json"], "give JSON and IMAGES"),
        (["a.json", "a", "--to", "b.json"], "only with --from"),
        (["a.json", "a", "--split", "val"], "only with --from"),
        (["--from", "yolo", "a.yaml"], "takes one path and --to"),
        (["--from", "yolo", "a.yaml", "images", "--to", "b.json"], "takes one path and --to"),
        (["--from", "coco", "a.json", "--to", "b.json"], "invalid choice: 'coco'"),
    ],
)
def test_arguments_that_do_not_fit_together(tool, arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        tool.main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_yolo_set_is_converted_and_checked(tool, tmp_path, capsys):
    (tmp_path / "images/train").mkdir(parents=True)
    (tmp_path / "labels/train").mkdir(parents=True)
    Image.new("RGB", (60, 40)).save(tmp_path / "images/train/1.png")
    (tmp_path / "labels/train/1.txt").write_text("1 0.5 0.5 0.5 0.5\n0 0.95 0.5 0.5 0.5\n")
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: [cat, dog]\n")
    target = tmp_path / "train.json"
    code = tool.main(["--from", "yolo", f"{tmp_path}/data.yaml", "--to", str(target), "--fix"])
    output = capsys.readouterr().out
    assert code == 0 and f"written: {target}, for the images in {tmp_path}/images/train" in output
    assert "box over the edge" in output
    fixed = read_coco(tmp_path / "train.fixed.json")
    assert [a["bbox"] for a in fixed.annotations] == [[15, 10, 30, 20], [42, 10, 18, 20]]
    assert fixed.class_names == ["cat", "dog"]


# What is written where


@pytest.mark.parametrize("name", ["train.json", "train/../train.json", "train/2.png"])
def test_a_report_never_replaces_what_is_read(run, small_set, tmp_path, name):
    image = (tmp_path / "train/2.png").read_bytes()
    code, _, error = run("--report", f"{tmp_path}/{name}")
    assert code == 2 and name in error and len(error.splitlines()) == 1
    assert json.loads((tmp_path / "train.json").read_text()) == small_set
    assert (tmp_path / "train/2.png").read_bytes() == image


def test_a_repaired_file_never_replaces_the_input(run, small_set, tmp_path):
    widen(small_set)
    (tmp_path / "train.fixed.json").symlink_to("train.json")
    code, _, error = run("--fix")
    assert code == 2 and "train.fixed.json" in error
    assert json.loads((tmp_path / "train.json").read_text()) == small_set


def test_a_conversion_never_replaces_its_source(tool, tmp_path, capsys):
    source = tmp_path / "data.yaml"
    source.write_text("names: [cat]\n")
    assert tool.main(["--from", "yolo", str(source), "--to", str(source)]) == 2
    assert "data.yaml" in capsys.readouterr().err
    assert source.read_text() == "names: [cat]\n"


@pytest.mark.parametrize("link", [False, True])
def test_a_conversion_never_replaces_a_label_file(tool, tmp_path, capsys, link):
    label = tmp_path / "train/1.xml"
    label.parent.mkdir()
    label.write_text(VOC_LABEL)
    Image.new("RGB", (60, 40)).save(tmp_path / "train/1.png")
    target = tmp_path / "to.json" if link else label
    if link:
        target.symlink_to(label)
    assert tool.main(["--from", "voc", str(tmp_path), "--to", str(target)]) == 2
    assert target.name in capsys.readouterr().err
    assert label.read_text() == VOC_LABEL


ESCAPE = "\x1b]0;title\x07\x1b[31m\u202egnp"


def test_what_a_terminal_obeys_is_shown_as_its_escape(run, small_set, tmp_path):
    (tmp_path / "train/4.png").rename(tmp_path / "train" / f"4{ESCAPE}")
    small_set["images"][3] |= {"file_name": f"4{ESCAPE}", "width": 0}
    small_set["images"].append({"id": 5, "file_name": f"5{ESCAPE}", "width": 60, "height": 40})
    small_set["categories"].append({"id": 2, "name": f"dog{ESCAPE}"})
    code, output, errors = run("--fix", "--all", "--report", f"{tmp_path}/report.json")
    assert code == 1  # 5 is missing
    written = (tmp_path / "train.fixed.txt").read_text()
    for text in (output, errors, written, (tmp_path / "report.json").read_text()):
        assert not set("\x1b\x07\u202e") & set(text)
    assert "\\x1b[31m" in output and "\\x1b[31m" in written
    fixed = json.loads((tmp_path / "train.fixed.json").read_text())
    assert fixed["images"][3]["file_name"] == f"4{ESCAPE}"  # the file keeps its name
