"""stageinteractor visualize-assignment on the result of a training."""

import json
from pathlib import Path

import pytest
from PIL import Image

OTHERS = ("model.queries", "model.decoder.num_stages", "model.decoder.feedforward_dim")


@pytest.fixture
def tool(load_tool):
    return load_tool("visualize_assignment")


def test_figures_page_and_statistics_of_a_run(call, tool, small_run, tmp_path, capsys):
    call("train.max_iter=1", "train.eval_period=0", *small_run)
    config = str(tmp_path / "run/config.yaml")
    assert tool.main(["--config-file", config, "--images", "image_1.png", "2"]) == 0
    output = tmp_path / "run/assignment"
    assert sorted(path.name for path in output.glob("[!.]*")) == [
        "assignment.html",
        "image_1.png",
        "image_1_queries.html",
        "image_2.png",
        "image_2_queries.html",
        "statistics.json",
    ]
    with Image.open(output / "image_1.png") as figure:
        assert figure.width == 3 * 4 * 110  # three stages
    content = json.loads((output / "statistics.json").read_text())
    annotations = json.loads(Path(small_run[3].partition("=")[2]).with_name("val.json").read_text())
    ids = {
        i["id"] for i in annotations["images"] if i["file_name"] in ("image_1.png", "image_2.png")
    }
    objects = sum(a["image_id"] in ids for a in annotations["annotations"])
    assert content["num_gt"] == objects
    assert content["matches"] == [objects] * 3
    assert len(content["unstable_score"]) == 2
    assert "unstable %" in capsys.readouterr().out


def test_anchor_queries_have_a_figure_of_their_own(call, tool, small_run, e2e_config, tmp_path):
    config = Path(e2e_config).with_name("digits_in_photos_asag.py")
    run = [x for x in small_run if not x.startswith(OTHERS)]
    run += ["train.max_iter=1", "train.eval_period=0", "model.postprocessing.max_detections=12"]
    call(*run, config=config)
    written = str(tmp_path / "run/config.yaml")
    assert tool.main(["--config-file", written, "--images", "image_1.png"]) == 0
    with Image.open(tmp_path / "run/assignment/image_1_anchors.png") as figure:
        assert figure.width == 9 * 110  # beside those of the stages
    with Image.open(tmp_path / "run/assignment/image_1.png") as figure:
        assert figure.width == 2 * 4 * 110  # the proposals, and the stage used at inference


def test_missing_image_is_an_error_of_one_line(call, tool, small_run, tmp_path, capsys):
    call("train.max_iter=1", "train.eval_period=0", *small_run)
    config = str(tmp_path / "run/config.yaml")
    assert tool.main(["--config-file", config, "--images", "nothing.png"]) == 2
    assert "error: image 'nothing.png': 0 images of val" in capsys.readouterr().err
