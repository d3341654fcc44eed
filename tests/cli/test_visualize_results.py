"""stageinteractor visualize: what it prints and writes of runs and of bare results files."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from coco_sets import detection
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from stageinteractor.config import apply_overrides, load_config, save_config
from stageinteractor.data.registration import resolve_dataset
from stageinteractor.engine.build import build_model
from stageinteractor.engine.checkpointing import AtomicCheckpointer

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "projects/stageinteractor/configs/demo/digits_in_photos.py"
PLOTS = {"confusion.png", "precision_recall.png", "ap_per_class.png", "score_thresholds.png"}
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def tool(load_tool) -> ModuleType:
    return load_tool("visualize")


@pytest.fixture
def call(tool: ModuleType, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the tool and return exit code, output and errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = tool.main([str(argument) for argument in arguments])
        return (code, *capsys.readouterr())

    return run


CAT, DOG = [4, 4, 20, 20], [32, 10, 20, 20]
RESULTS = [
    detection(1, 7, CAT, 0.9),
    detection(1, 7, [4, 4, 20, 18], 0.8),  # Dupe
    detection(1, 7, DOG, 0.7),  # Cls
    detection(2, 7, [4, 4, 20, 8], 0.6),  # Loc; the dog of image 2 is missed
    detection(3, 7, CAT, 0.1),  # all of image 3 is missed, unless 0.1 is enough
]
COUNTS = {"correct": 1, "Dupe": 1, "Cls": 1, "Loc": 1, "Both": 0, "Bkg": 0, "Miss": 3}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Three images of 64x48 with a cat and a dog each; RESULTS of them."""
    (tmp_path / "photos").mkdir()
    content: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 7, "name": "cat"}, {"id": 19, "name": "dog"}],
    }
    for number in (1, 2, 3):
        Image.new("RGB", (64, 48), (40 * number, 90, 90)).save(tmp_path / f"photos/{number}.png")
        image = {"id": number, "file_name": f"{number}.png", "width": 64, "height": 48}
        content["images"].append(image)
        for category, box in ((7, CAT), (19, DOG)):
            ids = {"id": len(content["annotations"]) + 1, "image_id": number}
            content["annotations"].append(ids | {"category_id": category, "bbox": box})
    (tmp_path / "val.json").write_text(json.dumps(content))
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    return {
        "--json": tmp_path / "val.json",
        "--images": tmp_path / "photos",
        "--results": tmp_path / "results.json",
        "--output": tmp_path / "out",
    }


@pytest.fixture
def run_folder(tmp_path: Path, files: dict[str, Path]) -> Path:
    folder = tmp_path / "demo"
    (folder / "evaluation").mkdir(parents=True)
    files["--results"].rename(folder / "evaluation/coco_instances_results.json")
    val = {"json": str(files["--json"]), "images": str(files["--images"])}
    (folder / "config.yaml").write_text(json.dumps({"dataset": {"name": "pets", "val": val}}))
    write_metrics(folder / "metrics.json", 12.5)
    return folder


def write_metrics(path: Path, ap: float) -> None:
    lines = [{"iteration": 99, "total_loss": 3.0}, {"iteration": 100, "bbox/AP": ap}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def options(files: dict[str, Path]) -> list[object]:
    return [part for pair in files.items() for part in pair]


def listed(folder: Path) -> set[str]:
    """Names of the results in a folder, without the record of them."""
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def rows(output: str) -> dict[str, str]:
    """Counts of the printed table by error type."""
    cells = [line.split() for line in output.splitlines()]
    return {row[0]: row[1] for row in cells if row and row[0] in COUNTS}


def test_results_file_of_any_detector(call: Call, files: dict[str, Path]):
    code, output, _ = call(*options(files))
    assert code == 0
    assert {name: int(number) for name, number in rows(output).items()} == COUNTS
    assert "3 images, 6 objects, 4 detections with a score of at least 0.3" in output
    assert "dog for cat (1)" in output
    assert "25.0 % of detections" in output and "50.0 % of objects" in output
    sheets = {f"errors_{name}.jpg" for name, n in COUNTS.items() if n and name != "correct"}
    written = listed(files["--output"])
    assert written == PLOTS | sheets | {"errors.json"}


def test_counts_are_kept_as_json(call: Call, files: dict[str, Path]):
    call(*options(files))
    kept = json.loads((files["--output"] / "errors.json").read_text())
    assert kept["types"] == COUNTS
    assert kept["classes"]["dog"] == dict.fromkeys(COUNTS, 0) | {"Miss": 2}
    assert kept["confusion"] == {
        "classes": ["cat", "dog"],
        "counts": [[1, 0, 2], [1, 0, 2], [2, 0, 0]],
    }
    assert set(kept["ap"]) == {"AP", "AP50", "AP75"}
    # cats: right, wrong twice, IoU 0.4, right: precision 1 up to recall 1/3, 2/5 up to 2/3
    assert kept["ap"]["AP50"] == pytest.approx(100 * (34 + 33 * 0.4) / 101 / 2)


def test_sheet_of_an_error_type_that_is_gone_is_removed(call: Call, files: dict[str, Path]):
    call(*options(files))
    assert (files["--output"] / "errors_Dupe.jpg").is_file()
    files["--results"].write_text(json.dumps(RESULTS[:1]))
    call(*options(files))
    assert not (files["--output"] / "errors_Dupe.jpg").exists()


@pytest.mark.parametrize(
    "name", ["errors_Bkg.jpg", "errors_Miss.jpg", "errors.json", "confusion.png"]
)
def test_files_of_the_user_are_not_replaced(call: Call, files: dict[str, Path], name: str):
    own = files["--output"] / name
    own.parent.mkdir()
    own.write_text("the user's own")
    code, _, error = call(*options(files))
    assert code == 2 and name in error and len(error.splitlines()) == 1
    assert own.read_text() == "the user's own"
    assert listed(files["--output"]) == {name}


def test_without_detections_only_missed_objects_are_drawn(call: Call, files: dict[str, Path]):
    files["--results"].write_text("[]")
    code, output, _ = call(*options(files))
    assert code == 0 and rows(output)["Miss"] == "6"
    written = listed(files["--output"])
    assert written == PLOTS | {"errors_Miss.jpg", "errors.json"}
    kept = json.loads((files["--output"] / "errors.json").read_text())
    assert kept["ap"] == {"AP": 0.0, "AP50": 0.0, "AP75": 0.0}


def test_one_run_gives_every_figure(call: Call, run_folder: Path):
    code, output, _ = call(run_folder)
    assert code == 0
    assert {name: int(number) for name, number in rows(output).items()} == COUNTS
    written = listed(run_folder / "results")
    assert written >= PLOTS | {"convergence.png", "errors_Miss.jpg", "errors.json"}


def test_several_runs_give_one_figure(call: Call, run_folder: Path, tmp_path: Path):
    (tmp_path / "other").mkdir()
    write_metrics(tmp_path / "other/metrics.json", math.nan)
    code, output, _ = call(run_folder, tmp_path / "other", "--output", tmp_path / "both")
    assert code == 0 and f"{tmp_path}/both/convergence.png" in output
    assert listed(tmp_path / "both") == {"convergence.png"}
    assert not (run_folder / "results").exists()


def test_run_without_evaluation_says_so(call: Call, run_folder: Path):
    (run_folder / "evaluation/coco_instances_results.json").unlink()
    code, output, _ = call(run_folder)
    assert code == 0 and "has not been evaluated yet" in output
    assert listed(run_folder / "results") == {"convergence.png"}


def test_fast_dev_run_counts_its_evaluated_images(call: Call, run_folder: Path):
    config = json.loads((run_folder / "config.yaml").read_text())
    config["train"] = {"fast_dev_run": {"enabled": True}}
    (run_folder / "config.yaml").write_text(json.dumps(config))
    results = run_folder / "evaluation/coco_instances_results.json"
    results.write_text(json.dumps(RESULTS[:4]))  # none of image 3
    output = call(run_folder)[1]
    assert "2 images, 4 objects" in output and rows(output)["Miss"] == "1"


@pytest.fixture
def trained(run_folder: Path, files: dict[str, Path]) -> Path:
    """A run folder with a small model of random weights, moved to where its config does not say."""
    cfg = load_config(DEMO)
    paths = [
        f"dataset.{split}.{key}={files[f'--{key}']}"
        for split in ("train", "val")
        for key in ("json", "images")
    ]
    small = ["num_stages=2", "embed_dim=64"]
    apply_overrides(
        cfg,
        [
            *paths,
            "dataset.name=pets",
            "model.backbone.weights=null",
            *(f"model.decoder.{override}" for override in small),
            "model.queries.num_queries=5",
            "train.device=cpu",
            "train.output_dir=elsewhere",
        ],
    )
    resolve_dataset(cfg.dataset)
    save_config(cfg, run_folder / "config.yaml")
    AtomicCheckpointer(build_model(cfg), run_folder).save("model_final")
    yield run_folder
    for split in ("train", "val"):
        DatasetCatalog.remove(f"pets_{split}")
        MetadataCatalog.remove(f"pets_{split}")


def test_embedding_of_a_run(call: Call, trained: Path, tool: ModuleType):
    code, _, errors = call(trained, "--embedding", 3, "--min-score", 0.0)
    assert code == 0, errors
    with Image.open(trained / "results/embedding.png") as image:
        assert image.width > 800  # two stages
    code, _, errors = call(trained, "--embedding", 1, "--min-score", 0.0)
    assert code == 2 and "5 queries are too few for t-SNE" in errors
    code, _, errors = call(trained, "--embedding", 4, "--min-score", 0.0)  # more than there are
    assert code == 0, errors


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("--json", "val.json: no such file"),
        ("--images", "photos: no such folder"),
        ("--results", "results.json: no such file"),
    ],
)
def test_missing_files_are_named(call: Call, files: dict[str, Path], name: str, message: str):
    files[name].rename(files[name].with_name("gone"))
    code, _, errors = call(*options(files))
    assert code == 2 and message in errors and len(errors.splitlines()) == 1
    assert errors.startswith("error: ")


def test_folder_that_is_no_run_is_named(call: Call, tmp_path: Path):
    code, _, errors = call(tmp_path)
    assert code == 2 and f"{tmp_path}: no metrics.json" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a run, or all of"),
        (["--json", "val.json"], "give a run, or all of"),
        (["demo", "--json", "val.json"], "not both"),
        (["one", "two", "--embedding", "9"], "takes one run"),
        (["demo", "--count", "0"], "at least 1"),
    ],
)
def test_conflicting_arguments_are_refused(
    call: Call, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
):
    with pytest.raises(SystemExit) as stop:
        call(*arguments)
    assert stop.value.code == 2 and message in capsys.readouterr().err
