"""The command line writes the requested results and reports what it skips."""

import csv
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from stageinteractor import Predictor


@pytest.fixture(scope="module")
def demo(load_tool) -> ModuleType:
    return load_tool("predict")


@pytest.fixture
def call(demo, tiny_run, tmp_path):
    """Run the tool on the tiny run; return the exit code. Results go to the folder "out"."""

    def run(*arguments: str | Path) -> int:
        given = ["--config-file", tiny_run / "config.yaml", "--output", tmp_path / "out"]
        return demo.main([str(argument) for argument in [*given, *arguments]])

    return run


def files(folder: Path) -> list[str]:
    """Results below a folder, without the record of them."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("[!.]*") if path.is_file())


def test_images_are_drawn(call, tiny_set, tmp_path, capsys):
    assert call(tiny_set / "images") == 0
    names = [f"images/photo_{number}.png" for number in range(4)]
    assert files(tmp_path / "out") == names
    output = capsys.readouterr()
    assert f"written: {tmp_path}/out/images" in output.out
    assert "4/4" in output.err and "image/s" in output.err
    with Image.open(tmp_path / "out" / names[2]) as image:
        assert image.size == (640, 320)


def test_json_and_csv_hold_the_predictors_detections(call, tiny_run, tiny_set, tmp_path):
    assert call(f"{tiny_set}/images/*_0.png", "--min-score", "0.4", "--format", "json", "csv") == 0
    predictor = Predictor.from_config(tiny_run / "config.yaml", device="cpu", min_score=0.4)
    instances = predictor(tiny_set / "images" / "photo_0.png")
    assert 0 < len(instances) < 8
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [result["score"] for result in results] == pytest.approx(instances.scores.tolist())
    assert {result["image_id"] for result in results} == {1}
    assert {result["category_id"] for result in results} <= {3, 7, 40}
    with (tmp_path / "out" / "detections.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == [result["category"] for result in results]
    x0, y0, x1, y1 = instances.pred_boxes.tensor[0].tolist()
    sides = [float(rows[0][name]) for name in ("x_min", "y_min", "x_max", "y_max")]
    assert sides == pytest.approx([x0, y0, x1, y1], abs=0.01)


@pytest.mark.parametrize("again", [".", "*", "**/*.png"])
def test_into_the_folder_of_the_inputs_twice(call, tiny_set, tmp_path, capsys, again):
    photos = tmp_path / "out"  # where results go, too
    shutil.copytree(tiny_set / "images", photos)
    for text in (photos, photos / again):
        assert call(text, "--format", "images", "json") == 0
        assert "in 4 images" in capsys.readouterr().out
    drawn = [f"images/photo_{number}.png" for number in range(4)]
    assert [name for name in files(photos) if "/" in name] == drawn


def test_unreadable_image_is_reported_and_skipped(call, tiny_set, tmp_path, capsys):
    (tmp_path / "letter.png").write_text("Dear Sir")
    inputs = tmp_path / "letter.png", tiny_set / "images" / "photo_0.png"
    assert call(*inputs, "--format", "images", "json") == 1
    errors = capsys.readouterr().err
    assert f"skipped: {tmp_path}/letter.png: " in errors
    assert errors.splitlines()[-1].startswith("error: 1 ")
    assert files(tmp_path / "out") == ["detections.json", "images/photo_0.png"]


def test_nothing_is_written_without_a_readable_image(call, tmp_path, capsys):
    (tmp_path / "letter.png").write_text("Dear Sir")
    assert call(tmp_path / "letter.png") == 1
    threshold = "score threshold 0.3: the checkpoint was not evaluated"
    lines = [threshold, "0 detections in 0 images", "written: nothing"]
    assert capsys.readouterr().out.splitlines() == lines
    assert not (tmp_path / "out").exists()


def test_tiles_bound_the_boxes(call, tiny_set, tmp_path):
    image = tiny_set / "images" / "photo_0.png"
    assert call(image, "--tiles", "32", "--min-score", "0", "--format", "json") == 0
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert max(max(result["bbox"][2:]) for result in results) <= 32


def test_videos_are_tracked(call, clip, tmp_path):
    assert call(clip, "--track", "--min-score", "0", "--format", "json") == 0
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    of_frame = [[r.get("track_id") for r in results if r["frame"] == n] for n in range(5)]
    assert set(of_frame[0]) == {None}  # numbered from the second frame on
    assert set(of_frame[1]) == set(of_frame[4]) != {None}


@pytest.mark.parametrize("option", [["--tiles", "64"], ["--track"]])
def test_the_web_page_has_neither_tiles_nor_tracks(demo, capsys, option):
    with pytest.raises(SystemExit):
        demo.main(["--config-file", "x", "--web", *option])
    assert "--web" in capsys.readouterr().err


def scores_in(folder: Path) -> list[float]:
    return [each["score"] for each in json.loads((folder / "detections.json").read_text())]


def test_the_threshold_of_best_f1_is_used_unless_another_is_given(
    demo, tiny_run, tiny_set, tmp_path, capsys
):
    content = torch.load(tiny_run / "model_best.pth", weights_only=True)
    content["min_scores"] = {"score": 0.45, "classes": {}}
    torch.save(content, tmp_path / "evaluated.pth")
    predictor = Predictor.from_config(tiny_run / "config.yaml", tmp_path / "evaluated.pth", "cpu")
    expected = predictor(tiny_set / "images" / "photo_0.png").scores
    counts = []
    for options, score in (([], 0.45), (["--min-score", "0.2"], 0.2)):
        arguments = ["--config-file", tiny_run / "config.yaml", "--format", "json", "--weights"]
        arguments += [tmp_path / "evaluated.pth", "--output", tmp_path / "out", *options]
        assert demo.main([str(a) for a in [*arguments, tiny_set / "images/photo_0.png"]]) == 0
        assert len(scores_in(tmp_path / "out")) == (expected >= score).sum()
        counts.append(len(scores_in(tmp_path / "out")))
        assert ("score threshold 0.450" in capsys.readouterr().out) == (not options)
    assert 0 < counts[0] < counts[1]


def test_the_threshold_of_a_checkpoint_without_an_evaluation_is_named(
    demo, tiny_run, tiny_set, tmp_path, capsys
):
    content = torch.load(tiny_run / "model_best.pth", weights_only=True)
    torch.save({"model": content["model"]}, tmp_path / "weights.pth")
    arguments = ["--config-file", tiny_run / "config.yaml", "--weights", tmp_path / "weights.pth"]
    arguments += ["--format", "json", "--output", tmp_path / "out"]
    assert demo.main([str(each) for each in [*arguments, tiny_set / "images/photo_0.png"]]) == 0
    assert "score threshold 0.3: the checkpoint was not evaluated" in capsys.readouterr().out


def test_scales_of_test_time_augmentation(call, tiny_set, tmp_path, capsys):
    photo = tiny_set / "images" / "photo_0.png"
    assert call(photo, "--format", "json", "--min-score", "0") == 0
    plain = scores_in(tmp_path / "out")
    assert call(photo, "--format", "json", "--min-score", "0", "--tta", "1,1.5") == 0
    assert 0 < len(scores_in(tmp_path / "out")) and scores_in(tmp_path / "out") != plain
    with pytest.raises(SystemExit):
        call(photo, "--tta", "large")


def test_a_threshold_above_all_scores_is_named(call, tiny_set, capsys):
    image = tiny_set / "images" / "photo_0.png"
    assert call(image, "--format", "json", "--min-score", "1") == 0
    assert "--min-score 1.0" in capsys.readouterr().out
    assert call(image, "--format", "json", "--min-score", "0") == 0
    assert "--min-score" not in capsys.readouterr().out


@pytest.fixture
def gray_photo(tmp_path) -> Path:
    path = tmp_path / "photos" / "gray.png"
    path.parent.mkdir()
    Image.new("RGB", (40, 30), (90, 90, 90)).save(path)
    return path


@pytest.fixture
def clip(tmp_path) -> Path:
    """A video of 5 gray frames."""
    codec = cv2.VideoWriter_fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), codec, 10.0, (64, 48))
    for _ in range(5):
        writer.write(np.full((48, 64, 3), 90, np.uint8))
    writer.release()
    return tmp_path / "clip.avi"


def test_a_video_as_images_and_table(call, clip, tmp_path):
    formats = ("--format", "images", "csv", "--min-score", "0", "--batch-size", "2")
    assert call(clip, *formats) == 0
    drawn = [f"images/clip.avi/00000{number}.jpg" for number in range(5)]
    assert files(tmp_path / "out") == ["detections.csv", *drawn]
    with (tmp_path / "out" / "detections.csv").open(newline="") as file:
        assert [row["frame"] for row in csv.DictReader(file)] == [f"{i // 8}" for i in range(40)]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nowhere.jpg"], "nowhere.jpg: no such file or folder"),
        (["{photo}", "--format", "video"], "--format video: no input is a video"),
        (["{photo}", "--weights", "nowhere.pth"], "nowhere.pth: no such checkpoint file"),
        (["{photo}", "--config-file", "nowhere.yaml"], "nowhere.yaml: no such config file"),
    ],
)
def test_invalid_inputs_are_reported_in_one_line(
    call, capsys, gray_photo, tmp_path, arguments, line
):
    assert call(*(argument.format(photo=gray_photo) for argument in arguments)) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"error: {line}")
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_is_a_file_is_refused(call, capsys, gray_photo, tmp_path):
    (tmp_path / "out").write_text("words")
    assert call(gray_photo) == 2
    line = f"error: {tmp_path}/out/images/gray.png: cannot be written: Not a directory"
    assert capsys.readouterr().err.splitlines()[-1] == line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give inputs, or --web and no inputs"),
        (["a.jpg", "--web"], "give inputs, or --web and no inputs"),
        (["a.jpg", "--batch-size", "0"], "--batch-size must be at least 1"),
        (["a.jpg", "--min-score", "30"], "--min-score must be from 0 to 1"),
        (["--web", "--port", "99999"], "--port must be from 1 to 65535"),
    ],
)
def test_invalid_options_are_refused(call, capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        call(*arguments)
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_the_page_gets_detections_of_all_scores(call, monkeypatch, tiny_run):
    import stageinteractor.prediction.web as web

    served = []
    monkeypatch.setattr(web, "serve", lambda *arguments: served.append(arguments))
    assert call("--web", "--min-score", "0.6", "--port", "9000") == 0
    ((predictor, min_score, port),) = served
    assert (predictor.min_score, min_score, port) == (0.0, 0.6, 9000)


def test_the_page_without_streamlit(call, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "streamlit", None)
    assert call("--web") == 2
    assert "pip install 'streamlit>=" in capsys.readouterr().err


# Only files that the tool has written are overwritten


def test_an_input_is_never_overwritten(demo, tiny_run, gray_photo, capsys, monkeypatch):
    monkeypatch.chdir(gray_photo.parent.parent)
    Path("photos").rename("images")
    before = Path("images/gray.png").read_bytes()
    config = str(tiny_run / "config.yaml")
    monkeypatch.setattr(Predictor, "from_config", None)  # refused before the model is built
    assert demo.main(["--config-file", config, "images", "--output", "."]) == 2
    error = capsys.readouterr().err
    assert "images/gray.png" in error and len(error.splitlines()) == 1
    assert files(Path()) == ["images/gray.png"]
    assert Path("images/gray.png").read_bytes() == before


def test_an_earlier_result_that_is_an_input_is_refused(call, gray_photo, tmp_path, capsys):
    assert call(gray_photo) == 0
    assert call(tmp_path / "out/images/gray.png") == 2
    assert "images/gray.png" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("own", "options"),
    [
        ("images/gray.png", []),
        ("detections.json", ["--format", "json"]),
        ("detections.csv", ["--format", "csv"]),
        ("videos/clip.avi.mp4", ["--format", "video"]),
        ("images/clip.avi/000000.jpg", ["--format", "images"]),
    ],
)
def test_a_file_of_the_users_own_is_refused(call, clip, gray_photo, tmp_path, capsys, own, options):
    path = tmp_path / "out" / own
    path.parent.mkdir(parents=True)
    path.write_text("the user's own")
    assert call(clip, gray_photo, *options) == 2
    assert own in capsys.readouterr().err
    assert path.read_text() == "the user's own"
    assert files(tmp_path / "out") == [own]


def test_two_images_of_one_drawn_name_are_refused(call, gray_photo, capsys):
    for name in ("a.tif", "a.tif.jpg"):
        Image.new("RGB", (8, 8)).save(gray_photo.with_name(name))
    assert call(gray_photo.parent) == 2
    assert "a.tif.jpg" in capsys.readouterr().err


# Interrupted


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_prediction_keeps_its_tables(call, tiny_set, tmp_path, monkeypatch, number):
    whole, calls = Predictor.batch, []

    def batch(self, images):
        calls.append(images)
        if len(calls) == 3:
            os.kill(os.getpid(), number)
        return whole(self, images)

    monkeypatch.setattr(Predictor, "batch", batch)
    before = signal.getsignal(number)
    try:
        code = call(tiny_set / "images", "--min-score", "0", "--format", "json", "csv")
    except SystemExit as stop:
        code = stop.code
    assert code == 128 + number
    assert signal.getsignal(number) is before
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert {each["image_id"] for each in results} == {1, 2}
    with (tmp_path / "out" / "detections.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(results)
    assert files(tmp_path / "out") == ["detections.csv", "detections.json"]
