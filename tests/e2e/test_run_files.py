"""Evaluations, refused commands and resumes: which files of a run they change."""

import shutil

import pytest
import torch

from stageinteractor.config import load_config
from stageinteractor.visualization.error_analysis import read_run

SETTINGS = ["train.max_iter=2", "train.eval_period=0", "model.decoder.num_stages=1"]
KEPT = ("config.yaml", "metrics.json", "last_evaluation.json", "last_checkpoint")


@pytest.fixture(scope="session")
def finished_runs():
    """Holds the folder of a finished run, once it has run."""
    return []


@pytest.fixture
def run(finished_runs, call, small_run, tmp_path, tmp_path_factory):
    """The folder of a finished run, for this test alone."""
    if not finished_runs:
        folder = tmp_path_factory.mktemp("finished") / "run"
        call(*small_run, *SETTINGS, f"train.output_dir={folder}")
        finished_runs.append(folder)
    shutil.copytree(finished_runs[0], tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def again(small_run):
    """The settings of the run, in this test's folder."""
    return [*small_run, *SETTINGS]


def kept(run):
    names = [*KEPT, *(path.name for path in run.glob("*.pth"))]
    return {name: ((run / name).read_bytes(), (run / name).stat().st_mtime_ns) for name in names}


@pytest.mark.parametrize("override", ["train.fast_dev_run.enabled=true", "dataset.name=others"])
def test_evaluation_changes_no_file_of_the_run(call, run, override):
    before = kept(run)
    call("--eval-only", override, config=run / "config.yaml")
    assert kept(run) == before


def test_reports_show_the_evaluated_set(call, run, shapes_set):
    ids = [image["id"] for image in read_run(run).coco_set.images]
    other = shapes_set / "train.json"
    settings = [f"dataset.val.json={other}", f"dataset.val.images={shapes_set / 'train'}"]
    call("--eval-only", "train.fast_dev_run.enabled=true", *settings, config=run / "config.yaml")
    shown = read_run(run).coco_set
    assert (shown.json_file, len(shown.images)) == (str(other), 8)
    assert {entry["image_id"] for entry in shown.annotations} <= {x["id"] for x in shown.images}
    (run / "evaluation/evaluated_set.json").unlink()  # of an earlier version
    assert [image["id"] for image in read_run(run).coco_set.images] == ids


@pytest.mark.parametrize("option", ["--eval-only", "--resume"])
def test_refused_command_changes_no_file_of_the_run(refused, run, again, option):
    before = kept(run)
    line = refused(option, *again, "model.decoder.num_stages=2")
    assert "model_final.pth" in line
    assert kept(run) == before


@pytest.mark.parametrize(
    ("override", "token"),
    [
        ("model.queries.num_queries=13", "queries"),
        ("optimizer.params.no_decay=[bias]", "no_decay"),
        ("train.model_ema.enabled=true", "'ema'"),
        ("train.max_iter=1", "train.max_iter"),
        ("train.init_checkpoint=other.pth", "train.init_checkpoint"),
    ],
)
def test_setting_fixed_by_a_resume_is_named(refused, run, again, override, token):
    before = kept(run)
    assert token in refused("--resume", *again, "train.max_iter=3", override)
    assert kept(run) == before


@pytest.mark.parametrize(
    ("override", "change"),
    [
        ("model.queries.num_queries=13", "model.queries.num_queries: 12 -> 13"),
        ("model.decoder.num_stages=2", "model.decoder.num_stages: 1 -> 2"),
        ("model.backbone.name=resnet18", "model.backbone.name: 'tf_efficientnet_lite0' -> "),
        ("train.frozen_stages=1", "train.frozen_stages: 0 -> 1"),
    ],
)
def test_refused_resume_begins_with_the_changed_setting(refused, run, again, override, change):
    line = refused("--resume", *again, override)
    assert 0 < line.index(change) < line.index("model_final.pth")


def test_resume_applies_optimizer_settings(call, run, again):
    options = ["optimizer.lr=0.5", "optimizer.weight_decay=0.25", "optimizer.betas=[0.5,0.75]"]
    options += ["optimizer.params.backbone_lr_factor=0.5"]
    call("--resume", *again, *options, "train.max_iter=3")
    content = torch.load(run / "model_final.pth", weights_only=True)
    groups = content["trainer"]["optimizer"]["param_groups"]
    assert {group["weight_decay"] for group in groups} == {0.25}
    assert {tuple(group["betas"]) for group in groups} == {(0.5, 0.75)}
    assert {group["initial_lr"] for group in groups} == {0.5, 0.25}
    assert load_config(run / "config.yaml").optimizer.lr == 0.5
    previous = load_config(run / "config.previous.yaml")
    assert previous.train.max_iter == 2 and previous.optimizer.lr != 0.5
    assert "changed: optimizer.weight_decay: 0.0001 -> 0.25" in (run / "log.txt").read_text()


@pytest.mark.parametrize("is_there", [True, False])
def test_copied_run_is_evaluated_not_the_original(call, run, tmp_path, is_there, caplog):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    content = torch.load(copy / "model_final.pth", weights_only=True)
    for value in content["model"].values():
        value.zero_()
    torch.save(content, copy / "model_final.pth")
    before = kept(run)
    if not is_there:
        shutil.rmtree(run)
    call("--eval-only", config=copy / "config.yaml")
    assert f"{copy}/model_final.pth: loaded" in (copy / "log.txt").read_text()
    assert run.exists() == is_there
    assert not is_there or kept(run) == before


def test_evaluation_without_checkpoint_makes_no_folder(refused, again, tmp_path):
    line = refused("--eval-only", *again, f"train.output_dir={tmp_path / 'none'}")
    assert "no checkpoint" in line and "train.init_checkpoint" in line
    assert not (tmp_path / "none").exists()


def test_resume_without_checkpoint_is_logged(call, again, tmp_path):
    call("--resume", *again, "train.max_iter=1")
    log = (tmp_path / "run/log.txt").read_text()
    assert "has no last_checkpoint; training starts at iteration 0" in log


def test_last_checkpoint_outside_the_folder_is_refused(refused, run, again):
    (run / "last_checkpoint").write_text("../run/model_final.pth")
    (run / "model_best.pth").unlink()
    assert "last_checkpoint names" in refused("--resume", *again)


def test_empty_checkpoint_is_refused(refused, run, again):
    (run / "model_final.pth").write_bytes(b"")
    assert "model_final.pth" in refused("--eval-only", *again)


@pytest.mark.parametrize(
    "override",
    [
        "train.init_checkpoint=absent.pth",
        "dataloader.train.total_batch_size=0",
        "train.best_metric=bbox/Ap",
    ],
)
def test_refused_training_changes_no_file_of_the_run(refused, run, again, override):
    before = kept(run)
    refused(*again, override)
    assert kept(run) == before
