import logging
import sys

import pytest
import torch
from omegaconf import OmegaConf

from stageinteractor.engine.config_checks import evaluated_splits
from stageinteractor.engine.setup import (
    _num_queries,
    _set_up_logging,
    find_device,
    keep_previous,
)
from stageinteractor.errors import ConfigError


def test_auto_is_a_device_that_exists():
    assert find_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")


def test_missing_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="train.device=cpu"):
        find_device("cuda")


def test_what_is_no_device_is_refused():
    with pytest.raises(ConfigError, match="train.device 'gpu': use auto, cpu, cuda"):
        find_device("gpu")


@pytest.mark.parametrize("device", ["mps", "meta", "xpu:0", "cpu:x", ""])
def test_a_device_that_is_neither_cpu_nor_gpu_is_refused(device):
    with pytest.raises(ConfigError, match="use auto, cpu, cuda"):
        find_device(device)


def test_gpus_are_counted(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_device("auto") == "cuda"
    assert find_device("cuda:1") == "cuda:1"
    with pytest.raises(ConfigError, match="train.device 'cuda:2': the last GPU is cuda:1"):
        find_device("cuda:2")


def test_files_of_an_earlier_run_are_renamed(tmp_path):
    (tmp_path / "metrics.json").write_text("old")
    keep_previous(tmp_path, ("metrics.json", "absent.pth"))
    (tmp_path / "metrics.json").touch()  # of a run that wrote nothing
    keep_previous(tmp_path, ("metrics.json", "absent.pth"))
    (tmp_path / "metrics.json").unlink()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.previous.json"]
    assert (tmp_path / "metrics.previous.json").read_text() == "old"


@pytest.mark.parametrize(
    "model",
    [
        {"queries": {"num_queries": 30}},  # ours
        {"num_queries": 30},  # detrex's
        {"model": {"config": {"num_queries": 30}}},  # transformers'
    ],
)
def test_number_of_queries_of_every_kind_of_model(model):
    assert _num_queries(OmegaConf.create({"model": model})) == 30


def test_number_of_queries_defaults_to_100():
    assert _num_queries(OmegaConf.create({"model": {}})) == 100


def test_each_run_of_a_process_logs_once_to_its_own_file(tmp_path, capsys):
    for name, folder in enumerate(("first", "second", "first")):
        _set_up_logging(str(tmp_path / folder))
        for package in ("stageinteractor", "detectron2", "fvcore"):
            logging.getLogger(f"{package}.engine").warning("run %d of %s", name, package)
    lines = capsys.readouterr().out.splitlines()
    logs = [(tmp_path / folder / "log.txt").read_text() for folder in ("first", "second")]
    assert len(lines) == 9
    assert [log.count("run ") for log in logs] == [6, 3]
    assert "run 1" not in logs[0]


def test_without_a_file_only_the_console_gets_the_log(tmp_path, capsys):
    _set_up_logging(str(tmp_path))
    _set_up_logging(None)
    logging.getLogger("stageinteractor.export").info("evaluated")
    assert capsys.readouterr().out.count("evaluated") == 1
    assert (tmp_path / "log.txt").read_text() == ""


def test_handlers_of_others_are_kept(tmp_path):
    handler = logging.StreamHandler(sys.stderr)
    logging.getLogger("stageinteractor").addHandler(handler)
    for _ in range(2):
        _set_up_logging(str(tmp_path))
    assert handler in logging.getLogger("stageinteractor").handlers


@pytest.mark.parametrize(
    ("names", "splits"),
    [("tiny_val", ["val"]), ("tiny_train", ["val", "train"]), (["tiny_train"], ["val", "train"])],
)
def test_training_set_is_read_if_it_is_evaluated(names, splits):
    loader = {"dataset": {"names": names}}
    cfg = OmegaConf.create({"dataset": {"name": "tiny"}, "dataloader": {"test": loader}})
    assert evaluated_splits(cfg) == splits
