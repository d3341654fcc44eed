import pytest
import torch
from omegaconf import OmegaConf

from stageinteractor.engine.config_checks import evaluated_splits
from stageinteractor.engine.setup import _num_queries, find_device, keep_previous
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


@pytest.mark.parametrize(
    ("names", "splits"),
    [("tiny_val", ["val"]), ("tiny_train", ["val", "train"]), (["tiny_train"], ["val", "train"])],
)
def test_training_set_is_read_if_it_is_evaluated(names, splits):
    loader = {"dataset": {"names": names}}
    cfg = OmegaConf.create({"dataset": {"name": "tiny"}, "dataloader": {"test": loader}})
    assert evaluated_splits(cfg) == splits
