"""Our recipes for detrex's models under both trainers, and detrex's own recipes under ours."""

import argparse
import builtins
import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from e2e.test_instance_segmentation import MASKDINO
from integrations import detrex_host
from integrations.test_detrex_recipes import QUERIES, SWIN
from integrations.test_detrex_recipes import RECIPES as OTHERS

from stageinteractor.data.digits_in_photos import make_digits_in_photos
from stageinteractor.engine.trainer import Trainer

pytestmark = pytest.mark.detrex
PROJECTS = detrex_host.root() / "projects"
CONFIGS = Path(__file__).resolve().parents[2] / "projects/stageinteractor/configs/detrex"
RECIPES = [  # the others: tests/integrations/test_detrex_recipes.py
    "deformable_detr_r50_12ep",
    "deformable_detr_r50_box_refinement_12ep",
    "deformable_detr_r50_two_stage_12ep",
    "dino_r50_4scale_12ep",
    "stable_cross_stage_dino_r50_4scale_12ep",
    "stable_deformable_detr_r50_two_stage_12ep",
    "stable_dino_r50_4scale_12ep",
]
SMALL = [
    "model.transformer.encoder.num_layers=1",
    "model.transformer.decoder.num_layers=2",
    "model.num_queries=20",
    "model.select_box_nums_for_evaluation=20",
    "model.criterion.cross_stage.log_statistics=True",
]
QUICK = [  # of the others, what is not marked slow
    "conditional_detr_r50_50ep",
    "dino_swin_large_384_4scale_12ep",
    "dn_detr_r50_50ep",
    "stable_cross_stage_h_deformable_detr_r50_two_stage_12ep",
]
others = pytest.mark.parametrize(
    "name", [pytest.param(x, marks=[pytest.mark.slow] * (x not in QUICK)) for x in OTHERS]
)
LEARNING = [
    "deformable_detr_r50_12ep",
    "dino_r50_4scale_12ep",
    "stable_cross_stage_dino_r50_4scale_12ep",
    "stable_deformable_detr_r50_two_stage_12ep",
    "stable_dino_r50_4scale_12ep",
]
BOXES = "model.select_box_nums_for_evaluation=20"
SMALL_TRANSFORMER = [*SMALL[:2], BOXES]
TRAINED_BY_OURS = {  # recipes of detrex, and what makes them small
    "conditional_detr/configs/conditional_detr_r50_50ep.py": SMALL_TRANSFORMER,
    "dab_detr/configs/dab_detr_r50_50ep.py": SMALL_TRANSFORMER,
    "deformable_detr/configs/deformable_detr_r50_50ep.py": SMALL_TRANSFORMER,
    "detr/configs/detr_r50_300ep.py": SMALL_TRANSFORMER[:2],
    "dino/configs/dino-resnet/dino_r50_4scale_12ep.py": [
        *SMALL_TRANSFORMER,
        "model.num_queries=20",
    ],
    "h_deformable_detr/configs/h_deformable_detr_r50_two_stage_12ep.py": [
        *SMALL_TRANSFORMER,
        "model.num_queries_one2one=20",
        "model.num_queries_one2many=30",
        "model.transformer.two_stage_num_proposals=50",
    ],
}
EMA = ("enabled", "use_ema_weights_for_eval_only")
FROZEN = "model.backbone.freeze_at=5"  # all of it: no gradients, no state of the optimiser


def small_model(name: str) -> list[str]:
    """Overrides that make the model of one of `OTHERS` small; Swin-L has one block per stage."""
    if OTHERS[name] is SWIN:
        return [*SMALL[:2], *SMALL[3:], *QUERIES, "model.backbone.depths=[1,1,1,1]"]
    return [*SMALL[:2], *SMALL[3:], *OTHERS[name], FROZEN]


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
    options += [f"train.model_ema.{key}=true" for key in EMA]
    call(*options, "train.max_iter=2", config=config)
    call("--resume", *options, "train.max_iter=3", config=config)
    lines = metrics_of(run)
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


@others
def test_one_iteration_of_every_other_recipe(call, small_detrex, tmp_path, name):
    options = [option for option in small_detrex if option not in SMALL]
    options += [*small_model(name), "train.init_checkpoint=", "train.epochs=null"]
    call(*options, "train.max_iter=1", "train.eval_period=0", config=CONFIGS / f"{name}.py")
    lines = metrics_of(tmp_path / "run")
    assert {"loss_class", "loss_class_0", "assigner/labels_added_1"} <= set(lines[0])
    assert math.isfinite(lines[0]["total_loss"])
    keys = {"bbox/AP"} | ({"bbox_nms/AP"} if name.startswith("stable") else set())
    assert keys <= set().union(*lines)


@pytest.fixture
def train_theirs(call, small_detrex):
    """Train a recipe of detrex with our trainer."""
    kept = [option for option in small_detrex if option not in SMALL]

    def run(recipe: str, *options: str) -> None:
        small = [*kept, *TRAINED_BY_OURS[recipe], "train.init_checkpoint="]
        call(*small, *options, config=PROJECTS / recipe)

    return run


@pytest.mark.parametrize("recipe", TRAINED_BY_OURS)
def test_recipe_of_detrex_is_trained_by_our_trainer(train_theirs, tmp_path, recipe):
    train_theirs(recipe, "train.max_iter=1")
    train_theirs(recipe, "train.max_iter=2", "--resume")
    lines = metrics_of(tmp_path / "run")
    assert {line["iteration"] for line in lines if "total_loss" in line} == {0, 1}
    assert {"loss_class", "loss_class_0", "bbox/AP", "bbox/AP-disc"} <= set().union(*lines)


def test_average_is_evaluated_only_if_detrexs_key_says_so(call, train_theirs, tmp_path):
    run, ema = tmp_path / "run", "train.model_ema"
    train_theirs("detr/configs/detr_r50_300ep.py", "train.max_iter=2", f"{ema}.enabled=true")
    results = run / "evaluation/coco_instances_results.json"
    averaged = json.loads(results.read_text())
    for flag in (True, False):
        option = f"{ema}.use_ema_weights_for_eval_only={flag}"
        call("--eval-only", "--trust-config", option, config=run / "config.yaml")
        assert (json.loads(results.read_text()) == averaged) is flag


def test_gpu_call_of_detrex_is_named(train_theirs, capsys, monkeypatch):
    monkeypatch.undo()  # .cuda() is torch's again
    with pytest.raises(SystemExit):
        train_theirs("dino/configs/dino-resnet/dino_r50_4scale_12ep.py", "train.max_iter=1")
    error = capsys.readouterr().err
    assert "dino.py:" in error and ".cuda()" in error and "Traceback" not in error


def test_without_detrex_there_is_one_line(call, monkeypatch, capsys):
    for name in ("detrex", "detrex.config"):  # the tests before may have imported both
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(builtins, "__import__", builtins.__import__)  # detectron2 leaves its own
    with pytest.raises(SystemExit) as stop:
        call(config=CONFIGS / f"{RECIPES[0]}.py")
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
    file = PROJECTS.parent / "tools/train_net.py"
    spec = importlib.util.spec_from_file_location("their_train_net", file)
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


@pytest.fixture
def registered_digits(tmp_path):
    """A few digits with masks, as detectron2 registers them."""
    make_digits_in_photos(tmp_path / "digits", num_train=4, num_val=2)
    names = []
    for split in ("train", "val"):
        folder = tmp_path / "digits" / split
        names.append(f"digits_for_detrex_{split}")
        register_coco_instances(names[-1], {}, f"{folder}.json", str(folder))
    yield names
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.mark.parametrize("name", ["maskdino_r50_300_12ep", "stable_maskdino_r50_300_12ep"])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_detrexs_trainer_trains_and_evaluates_masks(
    their_train_net, registered_digits, tmp_path, name
):
    options = [
        *(option for option in MASKDINO if not option.startswith("train.")),
        "model.sem_seg_head.num_classes=10",
    ]
    train_by_theirs(their_train_net, registered_digits, tmp_path / "run", name, options, 2)
    keys = set().union(*metrics_of(tmp_path / "run"))
    assert {"loss_ce", "loss_mask", "bbox/AP", "segm/AP"} <= keys
    assert ({"bbox_nms/AP", "segm_nms/AP"} <= keys) is name.startswith("stable")


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_detrexs_trainer_trains_and_evaluates(their_train_net, registered_shapes, tmp_path, name):
    train_on_boxes(their_train_net, registered_shapes, tmp_path / "run", name, [*SMALL, FROZEN], 3)


@others
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_detrexs_trainer_on_every_other(their_train_net, registered_shapes, tmp_path, name):
    small = small_model(name)
    train_on_boxes(their_train_net, registered_shapes, tmp_path / "run", name, small, 1)


def train_on_boxes(their_train_net, sets, run, name, small, iterations):
    """Train a recipe by detrex's trainer, and check what it writes."""
    options = [
        *small,
        "model.num_classes=3",
        "dataloader.train.mapper.augmentation=[]",
        "dataloader.train.mapper.augmentation_with_crop=None",
        "dataloader.test.mapper.augmentation=[]",
        "dataloader.train.num_workers=0",
        "dataloader.test.num_workers=0",
    ]
    train_by_theirs(their_train_net, sets, run, name, options, iterations)
    lines = metrics_of(run)
    assert {"loss_class", "loss_class_0", "assigner/labels_added_1"} <= set(lines[0])
    assert "bbox/AP" in set().union(*lines)
    results = run.rglob("coco_instances_results.json")  # followed output_dir
    assert len(list(results)) == 1
    assert (run / "model_final.pth").is_file()


def train_by_theirs(their_train_net, sets, run, name, options, iterations):
    """Train a recipe by detrex's trainer, and evaluate it."""
    train, val = sets
    options = [
        *options,
        f"dataloader.train.dataset.names='{train}'",
        f"dataloader.test.dataset.names='{val}'",
        "dataloader.train.total_batch_size=2",
        "train.init_checkpoint=''",
        "train.device='cpu'",
        f"train.max_iter={iterations}",
        f"train.eval_period={min(iterations, 2)}",
        "train.log_period=1",
        f"train.output_dir='{run}'",
    ]
    config = str(CONFIGS / f"{name}.py")
    their_train_net.main(
        argparse.Namespace(config_file=config, opts=options, resume=False, eval_only=False)
    )


def metrics_of(run):
    """Return what a run has logged."""
    return [json.loads(line) for line in (run / "metrics.json").read_text().splitlines()]


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
    # losses of boxes are most of stable DINO's, and go down more slowly than those of classes
    iterations = 200 if name == "stable_cross_stage_dino_r50_4scale_12ep" else 100
    length = ["train.epochs=null", f"train.max_iter={iterations}", "train.eval_period=0"]
    call(*small_detrex, *digits, *length, "optimizer.lr=3e-4", config=CONFIGS / f"{name}.py")
    assert len(totals) == iterations
    assert sum(totals[-10:]) < 0.8 * sum(totals[:10])
    changed = [
        value
        for line in metrics_of(tmp_path / "run")
        for key, value in line.items()
        if key.startswith(("assigner/labels_added", "assigner/labels_dropped"))
    ]
    if not name.startswith("stable"):  # per-stage matches are kept there, and two stages may agree
        assert sum(changed) > 0
