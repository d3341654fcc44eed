"""detrex's models with the assigner, under our trainer and under detrex's own."""

import argparse
import builtins
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from integrations import detrex_host

from stageinteractor.data.digits_in_photos import make_digits_in_photos
from stageinteractor.engine.trainer import Trainer

pytestmark = pytest.mark.detrex
CONFIGS = Path(__file__).resolve().parents[2] / "projects/stageinteractor/configs/detrex"
RECIPES = sorted(path.stem for path in CONFIGS.glob("*_12ep.py"))
SMALL = [
    "model.transformer.encoder.num_layers=1",
    "model.transformer.decoder.num_layers=2",
    "model.num_queries=20",
    "model.select_box_nums_for_evaluation=20",
    "model.criterion.cross_stage.log_statistics=True",
]
LEARNING = [
    "deformable_detr_r50_12ep",
    "dino_r50_4scale_12ep",
    "stable_cross_stage_dino_r50_4scale_12ep",
    "stable_deformable_detr_r50_two_stage_12ep",
    "stable_dino_r50_4scale_12ep",
]
FROZEN = "model.backbone.freeze_at=5"  # all of it: no gradients, no state of the optimiser


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    detrex_host.arrange()
    detrex_host.stay_on_cpu(monkeypatch)


@pytest.fixture
def small_detrex(host, small_run: list[str]) -> list[str]:
    """Overrides that make a recipe a quick run on the shapes."""
    return [
        *(option for option in small_run if not option.startswith("model.")),
        *SMALL,
        "dataloader.train.mapper.augmentations=[]",
        "dataloader.test.mapper.augmentations=[]",
        "dataloader.train.aspect_ratio_grouping=false",
        "dataloader.train.num_workers=0",
        "dataloader.test.num_workers=0",
        "train.backbone_weights=null",
    ]


@pytest.mark.parametrize("name", RECIPES)
def test_train_evaluate_and_resume(call, small_detrex, tmp_path, name):
    config, run = CONFIGS / f"{name}.py", tmp_path / "run"
    options = [*small_detrex, FROZEN, "train.epochs=null", "train.eval_period=0"]
    options.append("train.model_ema.enabled=true")
    call(*options, "train.max_iter=2", config=config)
    call("--resume", *options, "train.max_iter=3", config=config)
    lines = [json.loads(line) for line in (run / "metrics.json").read_text().splitlines()]
    assert [line["iteration"] for line in lines if "total_loss" in line] == [0, 1, 2]
    assert {"bbox/AP", "bbox/AP-disc"} <= set().union(*lines)
    assert {"loss_class", "loss_class_0", "assigner/labels_added_1"} <= set(lines[0])
    saved = torch.load(run / "model_final.pth", weights_only=True)["model"]
    assert saved["class_embed.0.weight"].shape[0] == 3  # from the JSON
    assert not any("criterion" in key for key in saved)
    results = run / "evaluation/coco_instances_results.json"
    first = json.loads(results.read_text())
    results.unlink()
    call("--eval-only", "--trust-config", config=run / "config.yaml")
    assert json.loads(results.read_text()) == first
    assert {result["category_id"] for result in first} <= {7, 19, 1000}


@pytest.mark.parametrize("name", ["", "for_detrex_trainer/"])
def test_without_detrex_there_is_one_line(call, monkeypatch, capsys, name):
    monkeypatch.setitem(sys.modules, "detrex", None)
    monkeypatch.setattr(builtins, "__import__", builtins.__import__)  # detectron2 leaves its own
    with pytest.raises(SystemExit) as stop:
        call(config=CONFIGS / f"{name}{RECIPES[0]}.py")
    assert stop.value.code == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and len(error.splitlines()) == 1
    assert "detrex" in error and "PYTHONPATH" in error


@pytest.fixture
def registered_shapes(shapes_set, tmp_path):
    """The shapes as detectron2 registers them, with the keys that its evaluation reads."""
    names = []
    for split in ("train", "val"):
        content = json.loads((shapes_set / f"{split}.json").read_text())
        for entry in content["annotations"]:
            entry.update(iscrowd=0, area=entry["bbox"][2] * entry["bbox"][3])
        (tmp_path / f"{split}.json").write_text(json.dumps(content))
        names.append(f"shapes_for_detrex_{split}")
        file, folder = tmp_path / f"{split}.json", shapes_set / split
        register_coco_instances(names[-1], {}, str(file), str(folder))
    yield names
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture
def their_train_net(host, monkeypatch) -> ModuleType:
    """detrex's tools/train_net.py; its trainer asks for a GPU only once a step, and gets a yes."""
    root = Path(importlib.util.find_spec("detrex").submodule_search_locations[0]).parent
    spec = importlib.util.spec_from_file_location("their_train_net", root / "tools/train_net.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec.loader.exec_module(module)
    run_step, is_available = module.Trainer.run_step, torch.cuda.is_available

    def say_yes_once() -> bool:
        torch.cuda.is_available = is_available
        return True

    def step(trainer) -> None:
        torch.cuda.is_available = say_yes_once
        run_step(trainer)

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    monkeypatch.setattr(module.Trainer, "run_step", step)
    return module


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_detrexs_trainer_trains_and_evaluates(their_train_net, registered_shapes, tmp_path, name):
    train, val = registered_shapes
    options = [
        *SMALL,
        FROZEN,
        "model.num_classes=3",
        f"dataloader.train.dataset.names='{train}'",
        f"dataloader.test.dataset.names='{val}'",
        "dataloader.train.mapper.augmentation=[]",
        "dataloader.train.mapper.augmentation_with_crop=None",
        "dataloader.test.mapper.augmentation=[]",
        "dataloader.train.total_batch_size=2",
        "dataloader.train.num_workers=0",
        "dataloader.test.num_workers=0",
        "train.init_checkpoint=''",
        "train.device='cpu'",
        "train.max_iter=3",
        "train.eval_period=2",
        "train.log_period=1",
        f"train.output_dir='{tmp_path / 'run'}'",
    ]
    config = str(CONFIGS / f"for_detrex_trainer/{name}.py")
    their_train_net.main(
        argparse.Namespace(config_file=config, opts=options, resume=False, eval_only=False)
    )
    lines = [json.loads(x) for x in (tmp_path / "run/metrics.json").read_text().splitlines()]
    assert {"loss_class", "loss_class_0", "assigner/labels_added_1"} <= set(lines[0])
    assert "bbox/AP" in set().union(*lines)
    assert (tmp_path / "run/coco_instances_results.json").is_file()  # followed output_dir
    assert (tmp_path / "run/model_final.pth").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNING)
def test_the_loss_goes_down_on_the_embedded_set(call, small_detrex, tmp_path, monkeypatch, name):
    make_digits_in_photos(tmp_path / "digits", num_train=16, num_val=4)
    digits = ["dataset.name=digits"]
    for split in ("train", "val"):
        digits.append(f"dataset.{split}.json={tmp_path}/digits/{split}.json")
        digits.append(f"dataset.{split}.images={tmp_path}/digits/{split}")
    totals: list[float] = []
    write = Trainer._write_metrics

    def write_and_keep(trainer, losses, data_time, *rest) -> None:
        totals.append(float(sum(losses.values())))
        write(trainer, losses, data_time, *rest)

    monkeypatch.setattr(Trainer, "_write_metrics", write_and_keep)
    length = ["train.epochs=null", "train.max_iter=100", "train.eval_period=0", "optimizer.lr=3e-4"]
    call(*small_detrex, *digits, *length, config=CONFIGS / f"{name}.py")
    assert len(totals) == 100
    assert sum(totals[-10:]) < 0.8 * sum(totals[:10])
    lines = (tmp_path / "run/metrics.json").read_text().splitlines()
    changed = [
        value
        for line in lines
        for key, value in json.loads(line).items()
        if key.startswith(("assigner/labels_added", "assigner/labels_dropped"))
    ]
    if not name.startswith("stable"):  # per-stage matches are kept there, and two stages may agree
        assert sum(changed) > 0
