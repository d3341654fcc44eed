"""The file for COCO's server: its name, its ids, and what is refused."""

import json

import pytest

from stageinteractor import Predictor
from stageinteractor.cli.predict import main
from stageinteractor.cli.shards import main as shards


@pytest.fixture
def submit(tiny_run, tiny_set, tmp_path):
    """Detect in the tiny set's images for COCO's server."""

    def run(*options, folder=tiny_set / "images", **changes):
        content = json.loads((tiny_set / "set.json").read_text()) | changes
        del content["annotations"]
        info = tmp_path / "image_info_test-dev2017.json"
        info.write_text(json.dumps(content))
        arguments = ["--config-file", str(tiny_run / "config.yaml"), str(folder)]
        arguments += ["--test-dev", str(info), "--algorithm", "tiny-1.0", "--device", "cpu"]
        return main([*arguments, "--output", str(tmp_path / "out"), *options])

    return run


def test_results_have_the_name_and_ids_of_the_list(submit, tiny_run, tiny_set, tmp_path):
    assert submit() == 0
    file = tmp_path / "out/detections_test-dev2017_tiny-1.0_results.json"
    results = json.loads(file.read_text())
    assert {each["image_id"] for each in results} == {5, 8, 11, 14}
    assert {each["category_id"] for each in results} <= {3, 7, 40}
    assert all(set(each) == {"image_id", "category_id", "bbox", "score"} for each in results)
    detections = Predictor.from_config(str(tiny_run / "config.yaml"), device="cpu", min_score=0.0)
    (box, *_), (score, *_) = (
        getattr(detections(str(tiny_set / "images/photo_0.png")), name)
        for name in ("pred_boxes", "scores")
    )
    x, y, width, height = results[0]["bbox"]
    assert [x, y, x + width, y + height] == pytest.approx(box.tolist(), abs=0.02)
    assert results[0]["score"] == pytest.approx(score.item(), abs=1e-5)
    scores = [each["score"] for each in results if each["image_id"] == 5]
    assert scores == sorted(scores, reverse=True) and scores[0] > 0


def test_images_are_read_from_shards_too(submit, tiny_set, tmp_path):
    arguments = [str(tiny_set / "set.json"), str(tiny_set / "images")]
    assert shards([*arguments, "--to", str(tmp_path / "set")]) == 0
    assert submit() == submit(folder=tmp_path / "set.index.json") == 0
    file = tmp_path / "out/detections_test-dev2017_tiny-1.0_results.json"
    assert {each["image_id"] for each in json.loads(file.read_text())} == {5, 8, 11, 14}


def test_other_lists_are_refused(submit, capsys):
    other = [{"id": 5, "file_name": "photo_9.png"}]
    for changes, word in (
        ({"images": other}, "photo_9.png"),
        ({"images": []}, "images"),
        ({"images": [3]}, "file_name"),
        ({"images": [{"id": 5, "file_name": 3}]}, "such as 3"),
        ({"categories": [{"id": 3}]}, "category ids"),
    ):
        assert submit(**changes) == 2
        assert word in capsys.readouterr().err
    assert submit("--algorithm", "a/b") == 2
    assert "a/b" in capsys.readouterr().err
