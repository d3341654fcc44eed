"""The assigner in the config of a model, and what is said when detrex is not there."""

import builtins
import importlib.util
import sys

import pytest
from detectron2.config import LazyCall, instantiate
from integrations.toy_hosts import FocalHost, Matcher
from omegaconf import DictConfig, OmegaConf
from torch import nn

from stageinteractor import get_config
from stageinteractor.assigner import CrossStageAssigner
from stageinteractor.config import apply_overrides, load_config, save_config
from stageinteractor.errors import MissingDependencyError
from stageinteractor.integrations.detrex import (
    CrossStageCriterion,
    load_project_config,
    use_cross_stage,
)


class Decoder(nn.Module):
    def __init__(self, num_layers: int):
        super().__init__()


class Transformer(nn.Module):
    def __init__(self, decoder: nn.Module):
        super().__init__()


class Model(nn.Module):
    def __init__(self, num_classes: int, transformer: nn.Module, criterion: nn.Module):
        super().__init__()
        self.criterion = criterion


def config(host=FocalHost) -> DictConfig:
    model = LazyCall(Model)(
        num_classes=4,
        transformer=LazyCall(Transformer)(decoder=LazyCall(Decoder)(num_layers=4)),
        criterion=LazyCall(host)(num_classes="${..num_classes}", matcher=LazyCall(Matcher)()),
    )
    return OmegaConf.create({"model": model}, flags={"allow_objects": True})


def test_the_node_builds_the_criterion_with_the_default_settings():
    cfg = config()
    use_cross_stage(cfg.model.criterion)
    actual = instantiate(cfg.model).criterion
    assert isinstance(actual, CrossStageCriterion)
    assert isinstance(actual.criterion, FocalHost)
    assert isinstance(actual.matcher, Matcher)
    default = CrossStageAssigner()
    assert vars(actual.assigner) == vars(default)
    assert (actual.normalizer, actual.num_stages, actual.log_statistics) == ("max", 4, False)


def test_all_settings_reach_the_criterion():
    cfg = config()
    use_cross_stage(cfg.model.criterion, 0.7, (-2, 1), True, "host", True)
    actual = instantiate(cfg.model).criterion
    assert vars(actual.assigner) == vars(CrossStageAssigner(0.7, (-2, 1), True))
    assert (actual.normalizer, actual.log_statistics) == ("host", True)


def test_asking_again_replaces_the_settings_and_wraps_once():
    cfg = config()
    use_cross_stage(cfg.model.criterion, iou_threshold=0.6)
    before = OmegaConf.to_container(cfg.model.criterion)
    loss = get_config("common/class_loss.py").focal
    use_cross_stage(cfg.model.criterion, normalizer="host", class_loss=loss)
    actual = instantiate(cfg.model).criterion
    assert (actual.assigner.iou_threshold, actual.normalizer) == (0.5, "host")
    assert actual.own_class_loss is not None
    assert isinstance(actual.criterion, FocalHost)
    use_cross_stage(cfg.model.criterion, iou_threshold=0.6)
    assert OmegaConf.to_container(cfg.model.criterion) == before


def test_criterion_keys_and_interpolations_stay():
    cfg = config()
    use_cross_stage(cfg.model.criterion)
    apply_overrides(cfg, ["model.num_classes=7", "model.criterion.cross_stage.scope=[null,0]"])
    actual = instantiate(cfg.model).criterion
    assert actual.num_classes == 7
    assert actual.assigner.scope == (None, 0)
    apply_overrides(cfg, ["model.criterion.num_classes=5"])
    assert instantiate(cfg.model).criterion.num_classes == 5
    apply_overrides(cfg, ["model.transformer.decoder.num_layers=2"])
    assert instantiate(cfg.model).criterion.num_stages == 2


def test_a_saved_config_builds_the_same(tmp_path):
    cfg = config()
    use_cross_stage(cfg.model.criterion, iou_threshold=0.6, scope=(None, 1))
    save_config(cfg, tmp_path / "config.yaml")
    actual = instantiate(load_config(tmp_path / "config.yaml", trust=True).model).criterion
    assert vars(actual.assigner) == vars(CrossStageAssigner(0.6, (None, 1)))
    assert actual.num_stages == 4


@pytest.mark.parametrize("missing", ["detrex", "projects", "projects.dino"])
def test_missing_dependency_error_says_what_to_install(missing, monkeypatch):
    def find_spec(name, package=None):
        return None if name == missing else object()

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    with pytest.raises(MissingDependencyError) as caught:
        load_project_config("dino/configs/models/dino_r50.py")
    assert repr(missing) in str(caught.value) and "PYTHONPATH" in str(caught.value)


def test_a_package_that_detrex_needs_is_named(monkeypatch, tmp_path):
    project = tmp_path / "projects/some_detector"
    (project / "configs").mkdir(parents=True)
    (project / "configs/model.py").write_text("import a_package_that_is_gone\nmodel = {}\n")
    (tmp_path / "detrex").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.split(".")[0] in ("projects", "detrex")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", builtins.__import__)  # detectron2 leaves its own
    with pytest.raises(MissingDependencyError, match="needs the package 'a_package_that_is_gone'"):
        load_project_config("some_detector/configs/model.py")


def test_without_a_model_all_auxiliary_outputs_are_stages():
    node = LazyCall(FocalHost)(num_classes=4)
    use_cross_stage(node)
    assert instantiate(node).num_stages is None
