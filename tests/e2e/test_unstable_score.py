"""stageinteractor unstable-score on the results of trainings."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from stageinteractor.config import apply_overrides, load_config
from stageinteractor.engine.build import build_model

CONFIGS = Path(__file__).resolve().parents[2] / "projects/stageinteractor/configs"
THIRD_PARTY = [
    (
        "demo/digits_in_photos_deformable_detr.py",
        [
            "model.backbone.weights=null",
            "model.model.config.num_queries=12",
            "model.model.config.d_model=32",
            "model.model.config.encoder_layers=1",
            "model.model.config.decoder_layers=2",
        ],
        ["0 -> 1"],
    ),
    pytest.param(
        "detrex/dino_r50_4scale_12ep.py",
        [
            "model.transformer.encoder.num_layers=1",
            "model.transformer.decoder.num_layers=2",
            "model.num_queries=20",
            "model.select_box_nums_for_evaluation=20",
            "dataloader.test.mapper.augmentations=[]",
            "dataloader.test.num_workers=0",
        ],
        ["encoder -> 0", "0 -> 1"],
        marks=pytest.mark.detrex,
    ),
]


@pytest.fixture
def tool(load_tool):
    return load_tool("unstable_score")


@pytest.fixture
def run(call, small_run, tmp_path) -> Path:
    """A training of one iteration."""
    call("train.max_iter=1", "train.eval_period=0", *small_run)
    return tmp_path / "run"


def read(folder: Path) -> dict:
    return json.loads((folder / "unstable_score.json").read_text())


def test_scores_of_a_run_equal_those_of_its_figures(
    run, tool, load_tool, shapes_set, tmp_path, capsys
):
    config = str(run / "config.yaml")
    assert tool.main(["--config-file", config]) == 0
    printed = capsys.readouterr().out
    output = run / "unstable_score"
    written = {path.name for path in output.glob("[!.]*")}
    assert written == {"unstable_score.json", "unstable_score.png"}
    with Image.open(output / "unstable_score.png") as figure:
        assert figure.format == "PNG"
    (name, scores), *others = read(output).items()
    assert (name, others) == ("run", [])
    val = json.loads((shapes_set / "val.json").read_text())
    assert (scores["images"], scores["gt_boxes"]) == (8, len(val["annotations"]))
    assert list(scores["unstable_score"]) == ["0 -> 1", "1 -> 2"]
    assert len(scores["labels_added_per_image"]) == 3
    for value in (*scores["unstable_score"].values(), scores["mean_unstable_score"]):
        assert f"{value:.1f}" in printed
    batch = "dataloader.test.batch_size=1"  # as for the figures: padding changes predictions
    assert tool.main(["--config-file", config, "--output", str(tmp_path / "ones"), batch]) == 0
    visualize = load_tool("visualize_assignment")
    everything = [str(number) for number in range(8)]
    assert visualize.main(["--config-file", config, "--images", *everything]) == 0
    statistics = json.loads((run / "assignment/statistics.json").read_text())
    ones = read(tmp_path / "ones")["run"]
    assert list(ones["unstable_score"].values()) == pytest.approx(statistics["unstable_score"])
    added = [8 * mean for mean in ones["labels_added_per_image"]]
    assert added == pytest.approx(statistics["counts"]["labels_added"])


def test_wrong_options_are_errors_of_one_line(run, tool, capsys):
    config = str(run / "config.yaml")
    for options, message in [
        (["--images", "0"], "--images is 0: it must be at least 1"),
        (["--weights", "a", "--weights", "b"], "2 --weights for 1 --config-file"),
        (["--weights", "nothing.pth"], "nothing.pth"),
    ]:
        assert tool.main(["--config-file", config, *options]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("error: ") and message in error
    assert not (run / "unstable_score").exists()


@pytest.mark.parametrize(
    ("config", "overrides", "steps"), THIRD_PARTY, ids=["transformers", "detrex"]
)
def test_third_party_models_are_measured(
    tool, small_run, tmp_path, monkeypatch, request, config, overrides, steps
):
    if request.node.get_closest_marker("detrex"):
        from integrations import detrex_host

        detrex_host.arrange()
        detrex_host.stay_on_cpu(monkeypatch)
    options = [each for each in small_run if not each.startswith("model.")] + overrides
    cfg = load_config(CONFIGS / config)
    apply_overrides(cfg, options)
    cfg.dataset.num_classes = 3
    weights = str(tmp_path / "random.pth")
    torch.save({"model": build_model(cfg).state_dict()}, weights)
    command = ["--config-file", str(CONFIGS / config), "--weights", weights, *options]
    assert tool.main([*command, "--output", str(tmp_path / "scores")]) == 0
    (scores,) = read(tmp_path / "scores").values()
    assert list(scores["unstable_score"]) == steps
    assert all(0 <= value <= 100 for value in scores["unstable_score"].values())
    assert scores["images"] == 8
    assert len(scores["labels_added_per_image"]) == 2
