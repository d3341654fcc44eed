"""The tool on what a run leaves behind, and the example on what the tool writes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tracer_mark import needs_tracer

from stageinteractor import Predictor
from stageinteractor.config import apply_overrides, instantiate, load_config, save_config

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "projects/stageinteractor/configs/demo"
SIZES = ["--size", "64", "80", "--size", "50", "97"]
SMALL = [
    "model.backbone.name=test_efficientnet",
    "model.neck.in_channels=[24,32,48,64]",
    "model.decoder.num_stages=1",
    "model.decoder.embed_dim=64",  # two channels for each of the 32 groups of the neck
    "model.queries.num_queries=6",
]


@pytest.fixture(scope="module")
def main(load_tool):
    return load_tool("export").main


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    """What a training of a small model leaves: config.yaml and model_final.pth."""
    folder = tmp_path_factory.mktemp("run")
    cfg = load_config(DEMO / "tree_crowns.py")
    apply_overrides(
        cfg,
        [
            *SMALL,
            "model.backbone.weights=null",
            "dataset.num_classes=2",
            "dataset.class_names=[oak,pine]",
            f"train.output_dir={folder}",
        ],
    )
    torch.manual_seed(0)
    model = instantiate(cfg.model, "model")
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.decoder.stages[0].class_head[-1].bias.zero_()  # scores of about one half
    cfg.model.backbone.weights = "datasets/weights/is_not_here.pth"  # needed for training only
    save_config(cfg, folder / "config.yaml")
    torch.save({"model": model.state_dict(), "iteration": 1}, folder / "model_final.pth")
    (folder / "last_checkpoint").write_text("model_final.pth")
    return folder


@pytest.fixture(scope="module")
def exported(main, run_folder):
    assert main(["--config-file", str(run_folder / "config.yaml"), *SIZES]) == 0
    return run_folder / "export"


def detections_of(text: str) -> list[tuple[str, list[float]]]:
    """Name, and score and box, of every line the example prints."""
    return [(name, [float(x) for x in rest]) for name, *rest in map(str.split, text.splitlines())]


@needs_tracer
def test_the_example_finds_what_the_model_finds_without_torch(exported, run_folder, tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((350, 250)).save(tmp_path / "image.png")
    blocked = "import sys; sys.modules.update(torch=None, detectron2=None, stageinteractor=None)"
    script = ROOT / "docs/examples/run_onnx.py"
    arguments = [str(script), str(exported / "model.onnx"), str(tmp_path / "image.png")]
    command = f"{blocked}; import runpy; sys.argv = {arguments}; runpy.run_path({arguments[0]!r})"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    actual = detections_of(done.stdout)
    expected = detections_of_model(run_folder, tmp_path / "image.png")
    assert len(actual) == len(expected) > 0
    for (name, numbers), (expected_name, expected_numbers) in zip(actual, expected, strict=True):
        assert name == expected_name
        assert numbers == pytest.approx(expected_numbers, abs=0.1)


@needs_tracer
def test_predict_takes_the_file_alone(exported, run_folder, load_tool, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (250, 350, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    model = Predictor.from_config(run_folder / "config.yaml", device="cpu", min_score=0.3)
    file = Predictor.from_onnx(exported / "model.onnx", min_score=0.3)
    assert file.class_names == model.class_names == ("oak", "pine")
    expected, actual = model(tmp_path / "image.png"), file(tmp_path / "image.png")
    assert len(actual) == len(expected) > 0
    boxes = [each.pred_boxes.tensor for each in (actual, expected)]
    torch.testing.assert_close(*boxes, rtol=0, atol=0.1)
    torch.testing.assert_close(actual.scores, expected.scores, rtol=0, atol=1e-4)
    assert torch.equal(actual.pred_classes, expected.pred_classes)
    weights = ["--weights", str(exported / "model.onnx"), "--output", str(tmp_path / "out")]
    arguments = [*weights, str(tmp_path / "image.png"), "--format", "json", "--min-score", "0.3"]
    assert load_tool("predict").main(arguments) == 0
    entries = json.loads((tmp_path / "out/detections.json").read_text())
    assert [each["category"] for each in entries] == list(
        map(file.classes.name, actual.pred_classes.tolist())
    )
    with pytest.raises(SystemExit):
        load_tool("predict").main([*arguments, "--precision", "bf16"])
    with pytest.raises(SystemExit):
        load_tool("predict").main([str(tmp_path / "image.png")])  # neither config nor file


def detections_of_model(run_folder: Path, path: Path) -> list[tuple[str, list[float]]]:
    """The same by this package, with the images resized as in evaluation."""
    cfg = load_config(run_folder / "config.yaml")
    cfg.model.backbone.weights = None
    model = instantiate(cfg.model, "model").eval()
    model.load_state_dict(torch.load(run_folder / "model_final.pth")["model"])
    read = instantiate(cfg.dataloader.test.mapper, "mapper")
    record = {"file_name": str(path), "image_id": 1, "height": 250, "width": 350}
    item = read(record)
    assert item["image"].shape == (3, 256, 358)  # the short side is 256
    instances = model([item])[0]["instances"]
    names = [cfg.dataset.class_names[label] for label in instances.pred_classes.tolist()]
    numbers = torch.cat([instances.scores[:, None], instances.pred_boxes.tensor], dim=1).tolist()
    return [pair for pair in zip(names, numbers, strict=True) if pair[1][0] >= 0.3]


def save_sure(run_folder: Path, path: Path) -> None:
    """Write the run's weights with a bias that makes every score nearly one."""
    content = torch.load(run_folder / "model_final.pth", weights_only=True)
    bias = [key for key in content["model"] if "class_head" in key and key.endswith("bias")][-1]
    content["model"][bias].fill_(30.0)
    torch.save(content, path)


def scores_and_facts(path: Path) -> tuple[list[float], dict[str, str]]:
    """What a file for torch finds in a gray image, and its metadata."""
    extra = {"metadata.json": ""}
    module = torch.export.load(path, extra_files=extra).module()
    outputs = module(torch.full((1, 3, 40, 60), 90.0), torch.tensor([[40, 60]]))
    return outputs["scores"][0].tolist(), json.loads(extra["metadata.json"])


def test_opsets_that_torch_does_not_write_are_refused(main, run_folder, tmp_path, capsys):
    config = ["--config-file", str(run_folder / "config.yaml"), "--output", str(tmp_path / "out")]
    assert main([*config, "--opset", "17"]) == 2
    assert "opset 17" in capsys.readouterr().err


def test_model_and_files_are_evaluated_when_asked(
    load_tool, run_folder, tmp_path, monkeypatch, capsys
):
    tool = load_tool("export")
    files = [tmp_path / "out" / name for name in ("model.onnx", "model.pt2")]

    facts = []

    def export(model, metadata, *arguments):
        facts.append(json.loads(metadata["min_score"]))
        (tmp_path / "out").mkdir(exist_ok=True)
        for path in files:
            path.write_text("a graph")
        return files

    def write_precision(source, precision):
        path = source.with_name(f"model_{precision}.onnx")
        path.write_text("a graph of other layers")
        return path

    evaluated = []

    def evaluate_detector(cfg, detector):
        evaluated.append(getattr(detector, "run", "model"))
        boxes = dict.fromkeys(("AP", "AP50", "AP75"), 12.5)
        return {"bbox": boxes, "best_f1": {"F1": 50.0, "score": 0.25}}

    monkeypatch.setattr("stageinteractor.export.export_detector", export)
    monkeypatch.setattr("stageinteractor.export.formats.run_onnx", lambda path: path.name)
    monkeypatch.setattr("stageinteractor.export.precisions.write_precision", write_precision)
    monkeypatch.setattr("stageinteractor.export.evaluation.evaluate_detector", evaluate_detector)
    config = ["--config-file", str(run_folder / "config.yaml")]
    config += ["--output", str(tmp_path / "out")]
    assert tool.main([*config, "--format", "onnx", "torch"]) == 0 and not evaluated
    assert "no score threshold" in capsys.readouterr().out
    assert tool.main([*config, "--format", "onnx", "torch", "--evaluate"]) == 0
    assert evaluated == ["model", "model.onnx"] and facts == [None, 0.25]
    output = capsys.readouterr().out
    assert "AP difference" in output and "no score threshold" not in output
    precisions = ["--precision", "float16", "int8", "--evaluate"]
    assert tool.main([*config, "--format", "torch", "onnx", *precisions]) == 0
    lower = ["model_float16.onnx", "model_int8.onnx"]
    assert evaluated[2:] == ["model", "model.onnx", *lower]
    assert all((tmp_path / "out" / name).is_file() for name in lower)
    with pytest.raises(SystemExit):
        tool.main([*config, "--format", "torch", "--evaluate"])
    with pytest.raises(SystemExit):
        tool.main([*config, "--format", "torch", "--precision", "int8"])


@needs_tracer
def test_the_torch_format_with_chosen_weights(main, run_folder, tmp_path, capsys):
    save_sure(run_folder, tmp_path / "chosen.pth")
    config = ["--config-file", str(run_folder / "config.yaml")]
    output = tmp_path / "files"
    weights = ["--weights", str(tmp_path / "chosen.pth")]
    options = ["--output", str(output), "--format", "torch"]
    assert main([*config, *weights, *options, *SIZES]) == 0
    output_text = capsys.readouterr().out
    assert output_text.count("6 of 6") == 4
    assert f"train.init_checkpoint={tmp_path / 'chosen.pth'}" in output_text  # not evaluated
    size = (output / "model.pt2").stat().st_size / 2**20
    assert output_text.splitlines()[-1] == f"written: {output}/model.pt2 ({size:.1f} MiB)"
    assert [path.name for path in output.glob("[!.]*")] == ["model.pt2"]
    assert min(scores_and_facts(output / "model.pt2")[0]) > 0.99


@needs_tracer
def test_the_best_weights_beside_the_config_are_taken(main, run_folder, tmp_path):
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.copy(run_folder / "config.yaml", moved)
    save_sure(run_folder, moved / "model_best.pth")
    options = ["--output", str(tmp_path), "--format", "torch"]
    assert main(["--config-file", str(moved / "config.yaml"), *options, *SIZES]) == 0
    assert min(scores_and_facts(tmp_path / "model.pt2")[0]) > 0.99


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "nowhere.pth"], "nowhere.pth: no such checkpoint file"),
        (["--size", "64", "64"], "at least two different image sizes"),
        (["dataset.class_names=[a,b,c]"], "2 of the model's tensors"),
        (["model.postprocesing=null"], "'model.postprocesing' does not exist"),
    ],
)
def test_errors_are_one_line(main, run_folder, capsys, tmp_path, arguments, message):
    config = ["--config-file", str(run_folder / "config.yaml"), "--output", str(tmp_path / "new")]
    assert main([*config, *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and message in line
    assert not (tmp_path / "new").exists()
