"""Metadata for the use of a file."""

import json

import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.data import transforms as T
from omegaconf import OmegaConf

from stageinteractor.class_names import set_class_names
from stageinteractor.config import get_config, load_config, save_config
from stageinteractor.errors import ConfigError
from stageinteractor.export import describe
from stageinteractor.export.metadata import resize_of


@pytest.fixture
def config():
    cfg = get_config("common/data/coco_format.py")
    cfg.dataset.num_classes = 2
    return cfg


@pytest.fixture(scope="module")
def model(make_detector):
    return make_detector(adamixer=True)  # with the means of ImageNet


def test_metadata_of_a_run(config, model, tmp_path):
    config.dataset.class_names = ["chaise", "Stühle"]
    config.dataset.category_ids = [62, 7]
    save_config(config, tmp_path / "config.yaml")
    for cfg in (config, load_config(tmp_path / "config.yaml")):
        metadata = describe(cfg, model)
        assert json.loads(metadata["class_names"]) == ["chaise", "Stühle"]
        assert json.loads(metadata["category_ids"]) == [62, 7]
        assert json.loads(metadata["image_format"]) == "RGB"
        assert json.loads(metadata["resize"]) == {"shortest": 800, "longest": 1333}
        assert json.loads(metadata["pixel_mean"]) == [123.675, 116.28, 103.53]
        assert json.loads(metadata["pixel_std"]) == [58.395, 57.12, 57.375]
        assert metadata["size_divisibility"] == "32"
        assert metadata["input"] == "images: float32 (batch, 3, height, width), RGB, 0 to 255"
        assert all(isinstance(value, str) for value in metadata.values())


def test_class_names_are_not_evaluated(config, model, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "secret")
    names = ["${oc.env:SECRET_TOKEN}", "???"]
    set_class_names(config.dataset, names)
    assert json.loads(describe(config, model)["class_names"]) == names


def test_classes_without_names_are_numbered(config, model):
    assert json.loads(describe(config, model)["class_names"]) == ["0", "1"]


def test_other_augmentations_are_logged(caplog):
    nodes = OmegaConf.create([L(T.Resize)(shape=[64, 64])], flags={"allow_objects": True})
    assert resize_of(nodes) is None
    (message,) = caplog.messages
    assert "Resize" in message


def test_other_models_are_refused(config):
    with pytest.raises(ConfigError, match="Linear"):
        describe(config, torch.nn.Linear(2, 2))
