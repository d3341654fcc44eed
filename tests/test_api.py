"""The public names of the package, and training and evaluation from a notebook."""

import json
import shutil

import pytest

import stageinteractor
from stageinteractor.api import read_config
from stageinteractor.config import load_config
from stageinteractor.errors import ConfigError, DataError


@pytest.mark.parametrize("name", stageinteractor.__all__)
def test_public_names_exist(name):
    assert getattr(stageinteractor, name) is not None


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="detector"):
        stageinteractor.detector  # noqa: B018


def test_a_run_is_evaluated_with_overrides(tiny_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    named = stageinteractor.evaluate(
        run / "config.yaml", f"train.init_checkpoint={run}/model_best.pth"
    )
    assert 0 <= named["bbox"]["AP"] <= 100
    assert stageinteractor.evaluate(str(run / "config.yaml"))["bbox"].keys() == named["bbox"].keys()


def test_a_run_is_evaluated_by_its_folder(tiny_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    assert "AP" in stageinteractor.evaluate(run)["bbox"]
    assert (run / "evaluation/coco_instances_results.json").is_file()


@pytest.mark.parametrize("kind", [list, tuple])
def test_overrides_may_be_a_list(tiny_run, tmp_path, kind):
    folder = f"train.output_dir={tmp_path}"
    with pytest.raises(DataError, match=r"nowhere\.pth"):
        stageinteractor.evaluate(tiny_run, kind([folder, "train.init_checkpoint=nowhere.pth"]))
    with pytest.raises(DataError, match=r"nowhere\.pth"):
        stageinteractor.train(tiny_run, kind([folder]), "train.init_checkpoint=nowhere.pth")


def test_an_evaluation_takes_a_precision(tiny_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    file, scores = run / "evaluation/coco_instances_results.json", []
    for precision in ("float32", "bf16"):
        stageinteractor.evaluate(run / "config.yaml", precision=precision)
        scores.append([result["score"] for result in json.loads(file.read_text())])
    exact, rounded = scores
    assert exact != rounded
    assert max(rounded) == pytest.approx(max(exact), abs=0.1)
    with pytest.raises(ConfigError, match=r"train\.eval_precision=bf16"):
        stageinteractor.evaluate(run / "config.yaml", "train.device=cpu", precision="fp16")


def test_a_loaded_config_is_not_changed(tiny_config):
    before = tiny_config.copy()
    cfg = read_config(tiny_config, ("train.max_iter=7",))
    assert cfg.train.max_iter == 7
    assert tiny_config == before


def test_training_returns_the_metrics(tiny_config, tmp_path):
    options = ["train.fast_dev_run.enabled=true", "dataloader.train.num_workers=0"]
    options += [f"train.output_dir={tmp_path}", "dataloader.train.total_batch_size=2"]
    assert "AP" in stageinteractor.train(tiny_config, *options)["bbox"]
    assert (tmp_path / "model_final.pth").is_file()


def test_errors_are_those_of_the_command(tiny_run):
    with pytest.raises(ConfigError, match="no_such_config"):
        stageinteractor.train("no_such_config")
    with pytest.raises(ConfigError, match=r"train\.nothing"):
        stageinteractor.train(tiny_run / "config.yaml", "train.nothing=1")


def test_embedded_data_is_made_in_its_default_place_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls = []
    monkeypatch.setitem(stageinteractor.embedded.SETS, "digits_in_photos", calls.append)
    monkeypatch.setattr(
        stageinteractor.embedded, "prepare_weights", lambda name, path: calls.append(path)
    )
    read_config("digits_in_photos", ("dataset.train.json=mine.json", "model.backbone.weights=null"))
    assert not calls
    read_config(load_config("digits_in_photos"))
    assert calls == ["datasets/digits_in_photos", "datasets/weights/efficientnet_lite0.pth"]
