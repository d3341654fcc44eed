"""stageinteractor ablate: rows build trainable models, runs are not repeated, tables are right."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from detectron2.config import LazyCall
from detectron2.structures import Boxes, Instances
from toy_backbone import ToyBackbone

from stageinteractor import ablation_runs
from stageinteractor.ablations import FULL, TABLES, apply_row
from stageinteractor.assigner import (
    CrossStageAssigner,
    OneToOneAtLastStage,
    PerStageAssigner,
    PositionModulatedMatcher,
)
from stageinteractor.cli.main import main
from stageinteractor.config import instantiate, load_config, save_config
from stageinteractor.criterion import RescalePerGt, RescalePerImage
from stageinteractor.data.digits_in_photos import make_digits_in_photos
from stageinteractor.modeling.postprocessing import TopKNms

ROWS = [(name, row) for name, rows in TABLES.items() for row in rows]


@pytest.mark.parametrize(("table", "row"), ROWS, ids=[f"{t}-{r.name}" for t, r in ROWS])
def test_every_row_builds_a_trainable_model(e2e_config, table, row, tmp_path):
    cfg = load_config(e2e_config)
    cfg.dataset.num_classes = 10
    cfg.model.backbone = LazyCall(ToyBackbone)()
    cfg.model.neck.in_channels = [8, 8, 8, 8]
    cfg.model.decoder.update(embed_dim=64, feedforward_dim=64)
    apply_row(cfg, row)
    save_config(cfg, tmp_path / "row.yaml")
    saved = load_config(tmp_path / "row.yaml", trust=True)
    model = instantiate(saved.model, "model").train()
    for stage in model.decoder.stages:  # not its initial zeros, so that all parts get gradients
        torch.nn.init.normal_(stage.mixing.out_proj.weight, std=0.02)
    instances = Instances((64, 64), gt_boxes=Boxes(torch.tensor([[8.0, 8.0, 56.0, 60.0]])))
    instances.gt_classes = torch.tensor([3])
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    losses = model([{"image": image, "instances": instances}])
    sum(losses.values()).backward()
    without = [n for n, p in model.decoder.named_parameters() if p.grad is None]
    assert without == []


def test_every_table_has_the_full_model_once():
    for name, rows in TABLES.items():
        own = not name.startswith("stable-dino")  # tables of another paper
        assert len([row for row in rows if row.paper == FULL]) == own
        assert len({row.name for row in rows}) == len(rows)


def test_rows_do_not_change_each_other(e2e_config, tmp_path):
    rows = {row.name[0]: row for row in TABLES["stable-matching"]}
    targets = {}
    for name in "CDFC":
        cfg = load_config(e2e_config)
        apply_row(cfg, rows[name])
        target = cfg.model.criterion.class_loss.target
        parts = target.quality.iou, target.rescale is not None, target.get("decay") is not None
        assert targets.setdefault(name, parts) == parts
    assert targets == {"C": (1.0, False, False), "D": (2.0, True, False), "F": (2.0, True, True)}


@pytest.mark.parametrize("config", ["digits_in_photos", "digits_in_photos_asag"])
def test_nms_rows_keep_max_detections(e2e_config, config, tmp_path):
    cfg = load_config(Path(e2e_config).with_name(f"{config}.py"))
    assert cfg.model.postprocessing.max_detections == 30
    apply_row(cfg, TABLES["nms"][1])
    save_config(cfg, tmp_path / "row.yaml")
    nms = instantiate(load_config(tmp_path / "row.yaml").model.postprocessing, "postprocessing")
    assert isinstance(nms, TopKNms)
    assert nms.max_detections == 30 and nms.iou_threshold == 0.5


def test_table_has_spread_and_further_measures(load_tool, monkeypatch):
    tool = load_tool("ablate")
    paper = (44.8, None, 48.4, None, None, None)
    rows = [tool.Row("a", {"key": 1}), tool.Row("b", paper=paper)]
    monkeypatch.setitem(tool.TABLES, "made-up", rows)
    measures = dict.fromkeys(tool.MEASURES, 20.0) | {"duplicates": 0.25}
    folders = {
        "made-up-a/seed_0": measures | {"AP": 30.0, "unstable %": 10.0},
        "made-up-a/seed_1": measures | {"AP": 32.0, "unstable %": 14.0},
        "full/seed_0": measures,
        "full/seed_1": measures | {"unstable %": 1.0},
    }
    monkeypatch.setattr(
        tool, "read_measures", lambda folder: folders[folder.relative_to("out").as_posix()]
    )
    options = ["--table", "made-up", "--seeds", "0", "1", "--output", "out"]
    monkeypatch.setattr("sys.argv", ["ablate.py", *options])
    head, _, first, blank, second, published = tool.table(tool.parse_args()).splitlines()
    assert head.split() == ["made-up", *tool.MEASURES, "duplicates", "unstable", "%"]
    assert first.split()[1:4] == ["31.0", "±", "1.4"]
    assert first.split()[-6:] == ["0.25", "±", "0.00", "12.0", "±", "2.8"]
    assert second.split()[-4:] == ["0.25", "±", "0.00", "-"]  # one of its runs has none
    assert blank.split() == ["paper,", "COCO", *"------"]
    assert published.split() == ["paper,", "COCO", "44.8", "-", "48.4", "-", "-", "-"]


@pytest.fixture
def ablate(load_tool, monkeypatch, small_run, tmp_path, capsys):
    """Run a table on the shapes and return what is printed; its commands run in this process."""
    tool = load_tool("ablate")
    options = [option for option in small_run if not option.startswith("train.output_dir")]

    def in_this_process(command: list[str], log: Path) -> None:
        with log.open("w") as file, contextlib.redirect_stdout(file):
            assert main(command[len(ablation_runs.COMMAND) :]) == 0

    def run(*arguments: str, overrides: Sequence[str] = ()) -> str:
        place = ["--output", str(tmp_path / "out"), "train.max_iter=2"]
        monkeypatch.setattr("sys.argv", ["ablate", *arguments, *place, *options, *overrides])
        capsys.readouterr()
        assert tool.main() == 0
        return capsys.readouterr().out

    monkeypatch.setattr(ablation_runs, "call", in_this_process)
    return run


def test_what_is_measured_behind_a_run_is_measured_once(ablate, tmp_path):
    output, kept = tmp_path / "out", tmp_path / "kept"
    options = ["--unstable-score", "--duplicate-removal", "2", "--results", str(kept)]
    done = [ablate("--table", "assigner", *options) for _ in range(2)]
    assert [each.count("measuring") for each in done] == [2, 0]
    for name in ("full", "assigner-off"):
        assert (output / name / "seed_0/unstable_score/unstable_score.png").is_file()
    assert [each.count("duplicate_removal: training") for each in done] == [2, 0]
    head, _, off, *_ = done[1].splitlines()[-6:]
    assert head.endswith("  AP after removal")
    assert head.index("labels added") < head.index("AP after removal")
    assert off.split()[-2] == "0.00"  # the plain assigner adds none
    detector, both = (
        torch.load(output / folder / "model_final.pth", weights_only=False)["model"]
        for folder in ("full/seed_0", "full/seed_0/duplicate_removal")
    )
    assert all(torch.equal(both[name], value) for name, value in detector.items())
    measures = json.loads((kept / "on/seed_0/metrics.json").read_text())
    assert (measures["iterations"], measures["removal_iterations"]) == (2, 2)
    assert measures["removal"].keys() == measures["raw"].keys() - {"unstable %", "labels added"}


def test_table_is_run_once_and_printed(ablate):
    first, second = ablate("--table", "nms"), ablate("--table", "nms")
    assert first.count("training") == 1 and first.count("evaluating") == 3
    assert second.count("finished before") == 4
    assert "48.5" in first  # the paper's AP75 with NMS at 0.9
    assert first.splitlines()[-8:] == second.splitlines()[-8:]


@pytest.mark.slow
@pytest.mark.parametrize("table", [name for name in TABLES if name.startswith("stable-dino")])
def test_tables_of_stable_dino_run_on_the_digits(ablate, tmp_path, table):
    make_digits_in_photos(tmp_path / "digits", num_train=4, num_val=2)
    digits = ["dataset.name=digits"]
    for split in ("train", "val"):
        digits.append(f"dataset.{split}.json={tmp_path}/digits/{split}.json")
        digits.append(f"dataset.{split}.images={tmp_path}/digits/{split}")
    printed = ablate("--table", table, overrides=digits).splitlines()
    rows = TABLES[table]
    assert len([line for line in printed if ": training" in line]) == len(rows)
    below = dict(zip(printed, printed[1:], strict=False))
    has_figures = any(row.paper for row in rows)
    for row in rows:
        (line,) = [each for each in printed if each.split()[:1] == [row.name]]
        assert float(line.split()[1]) >= 0
        if has_figures:
            paper = f"{row.paper[0]:.1f}" if row.paper else "-"
            assert below[line].split()[:3] == ["paper,", "COCO", paper]


CONFIG = "projects/stageinteractor/configs/stageinteractor_r50_1x.py"


def test_rows_of_stable_matching_build_up():
    built = {}
    for row in TABLES["stable-matching"]:
        cfg = load_config(CONFIG)
        apply_row(cfg, row)
        criterion = instantiate(cfg.model.criterion, "model.criterion")
        assigner, loss = criterion.assigner, criterion.class_loss
        inner = getattr(assigner, "assigner", assigner)
        target = getattr(loss, "target", None)
        built[row.name] = (
            type(assigner),
            getattr(inner, "keep_own_match", None),
            type(criterion.matcher) is PositionModulatedMatcher,
            criterion.normalizer,
            target and target.quality.iou,
            target and type(target.rescale),
            target and target.decay is not None,
            criterion.weight_class,
        )
    none = type(None)
    cross, one = CrossStageAssigner, OneToOneAtLastStage
    best = RescalePerGt
    assert built == {
        "per-stage": (PerStageAssigner, None, False, "max", None, None, None, 2.0),
        "stable-matching-alone": (
            *(PerStageAssigner, None, True, "matches", 2.0, RescalePerImage, False, 2.0),
        ),
        "A-step": (cross, False, False, "max", None, None, None, 2.0),
        "B-stage-match-kept": (cross, True, False, "max", None, None, None, 2.0),
        "C-iou-targets": (cross, True, False, "matches", 1.0, none, False, 2.0),
        "D-rescaled-per-gt": (cross, True, False, "matches", 2.0, best, False, 2.0),
        "E-modulated-cost": (cross, True, True, "matches", 2.0, best, False, 2.0),
        "F-rank-decay": (cross, True, True, "matches", 2.0, best, True, 2.0),
        "G-last-stage-one-to-one": (one, True, True, "matches", 2.0, best, True, 2.0),
        **{
            f"H-D-weight-{w:g}": (cross, True, False, "matches", 2.0, best, False, w)
            for w in (4.0, 6.0, 8.0)
        },
        "A-weight-4": (cross, False, False, "max", None, None, None, 4.0),
    }
