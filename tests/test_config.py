"""Config files: what is read, what overrides may change, and what a saved config gives back."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig
from omegaconf import DictConfig, OmegaConf
from tally import count_fault
from torch import nn

from stageinteractor.config import (
    apply_overrides,
    get_config,
    instantiate,
    load_config,
    save_config,
    targets,
)
from stageinteractor.errors import ConfigError
from stageinteractor.modeling.backbones import TimmBackbone

ZOO = Path(__file__).resolve().parents[1] / "projects/stageinteractor/configs"


@pytest.fixture
def cfg() -> DictConfig:
    return load_config(ZOO / "stageinteractor_r50_1x.py")


def overridden(cfg: DictConfig, override: str) -> Any:
    apply_overrides(cfg, [override])
    return OmegaConf.select(cfg, override.partition("=")[0])


# Loading


def test_load_config_executes_a_python_file(tmp_path: Path):
    file = tmp_path / "small.py"
    file.write_text("train = dict(max_iter=2 * 21)\n_hidden = dict(a=1)\nnumber = 3\n")
    assert load_config(file) == {"train": {"max_iter": 42}}


def test_load_config_reads_a_yaml_file(tmp_path: Path):
    for name in ("small.yaml", "small.yml"):
        (tmp_path / name).write_text("train: {max_iter: 42, folder: '${.max_iter}'}\n")
        loaded = load_config(str(tmp_path / name))
        assert loaded.train.max_iter == 42
        assert loaded.train.folder == 42


def test_load_config_names_a_missing_file(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"nowhere\.py: no such config file"):
        load_config(tmp_path / "nowhere.py")


def test_the_folder_of_a_run_stands_for_its_config(tmp_path: Path, monkeypatch):
    run = tmp_path / "run.v1"
    run.mkdir()
    with pytest.raises(ConfigError, match=r"run\.v1: a folder without config\.yaml"):
        load_config(run)
    (run / "config.yaml").write_text("train: {max_iter: 42}")
    assert load_config(run).train.max_iter == 42
    assert targets(run) == []
    monkeypatch.chdir(tmp_path)
    run.rename("digits_in_photos")
    assert "model" in load_config("digits_in_photos")  # of the zoo
    assert "model" not in load_config("./digits_in_photos")


def test_load_config_refuses_other_suffixes(tmp_path: Path):
    (tmp_path / "small.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"small\.json: a config file ends in \.py or \.yaml"):
        load_config(tmp_path / "small.json")


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch {}']",
        "!!python/object/new:subprocess.Popen [[touch, '{}']]",
        "!!python/object:os.system {{}}",
        "!!python/module:antigravity",
        "!!python/name:os.system ['touch {}']",
        "!!python/name:os.system touch",
        "!!python/bytes touch",
        "!!python/tuple {{a: 1}}",
        "!!python/object/apply:eval [\"open('{}', 'w')\"]",
        "!custom touch",
    ],
)
def test_load_config_refuses_every_other_tag(tmp_path: Path, text: str):
    (tmp_path / "evil.yaml").write_text(f"train: {text.format(tmp_path / 'was_here')}\n")
    with pytest.raises(ConfigError, match=r"evil\.yaml: not plain YAML"):
        load_config(tmp_path / "evil.yaml")
    assert not (tmp_path / "was_here").exists()
    count_fault("evil config")


def test_load_config_imports_and_calls_nothing(tmp_path: Path):
    (tmp_path / "antics.py").write_text("raise SystemExit('was imported')")
    (tmp_path / "evil.yaml").write_text(
        f"model: {{_target_: os.system, command: touch {tmp_path}/was_here}}\n"
        "norm: !!python/name:antics.anything\n"
        "train: {_target_: antics.anything, output_dir: there}\n"
    )
    known = set(sys.modules)
    cfg = load_config(tmp_path / "evil.yaml", trust=True)
    assert cfg.model._target_ == "os.system" and cfg.train.output_dir == "there"
    assert cfg.norm == {"_target_": "detectron2.utils.registry.locate", "name": "antics.anything"}
    imported = {name for name in set(sys.modules) - known if not name.startswith("omegaconf.")}
    assert not imported and not (tmp_path / "was_here").exists()
    count_fault("evil config")


@pytest.mark.parametrize(
    ("name", "dump"),
    [
        ("stageinteractor_r50_1x.py", "LazyConfig"),  # OmegaConf loses the names of static methods
        ("demo/digits_in_photos.py", "save_config"),
        ("demo/digits_in_photos.py", "OmegaConf"),
        ("demo/digits_in_photos.py", "OmegaConf resolved"),
    ],
)
def test_a_dump_of_a_config_is_read_and_builds_the_same(tmp_path: Path, name: str, dump: str):
    cfg = load_config(ZOO / name)
    small = ["decoder.num_stages=1", "decoder.feedforward_dim=64"]
    apply_overrides(cfg, [f"model.{each}" for each in small])
    if name.startswith("demo"):
        cfg.model.backbone.weights = None
    path = tmp_path / "dump.yaml"
    if dump == "save_config":
        save_config(cfg, path)
    elif dump == "LazyConfig":
        LazyConfig.save(cfg, str(path))
    else:
        path.write_text(OmegaConf.to_yaml(cfg, resolve=dump.endswith("resolved")))
    again = load_config(path)
    OmegaConf.resolve(again)
    model = instantiate(again.model, "model")
    assert str(model) == str(instantiate(cfg.model, "model"))
    assert tuple(again.optimizer.betas) == tuple(cfg.optimizer.betas)
    augmentations = instantiate(again.dataloader.train.mapper.augmentations, "augmentations")
    assert len(augmentations) == len(cfg.dataloader.train.mapper.augmentations)
    images = [{"image": torch.zeros(3, 64, 64, dtype=torch.uint8)}]
    with torch.no_grad():
        assert "instances" in model.eval()(images)[0]


@pytest.mark.parametrize("content", ["- 1\n- 2\n", "", "42", "just text"])
def test_load_config_refuses_yaml_that_is_no_mapping(tmp_path: Path, content: str):
    (tmp_path / "other.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"other\.yaml: expected a mapping"):
        load_config(tmp_path / "other.yaml")


@pytest.mark.parametrize(
    "content", [b"a: [1", b"a: \xff\xfe", b"a: '${'"], ids=["syntax", "not-utf8", "interpolation"]
)
def test_load_config_names_a_yaml_file_it_cannot_parse(tmp_path: Path, content: bytes):
    (tmp_path / "broken.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"broken\.yaml") as caught:
        load_config(tmp_path / "broken.yaml")
    assert "\n" not in str(caught.value)


def test_get_config_lists_the_shared_files_when_one_is_missing():
    with pytest.raises(ConfigError, match=r"'common/trian\.py'.*common/train\.py"):
        get_config("common/trian.py")


# Saving


@pytest.mark.parametrize("name", ["stageinteractor_r50_300_crop_1x.py", "demo/tree_crowns.py"])
def test_saving_a_reloaded_config_changes_nothing(tmp_path: Path, name: str):
    save_config(load_config(ZOO / name), tmp_path / "first.yaml")
    save_config(load_config(tmp_path / "first.yaml"), tmp_path / "second.yaml")
    assert (tmp_path / "second.yaml").read_text() == (tmp_path / "first.yaml").read_text()
    assert "!!" not in (tmp_path / "first.yaml").read_text()


def test_saved_config_keeps_interpolations(tmp_path: Path, cfg: DictConfig):
    save_config(cfg, tmp_path / "config.yaml")
    reloaded = load_config(tmp_path / "config.yaml")
    assert reloaded.dataloader.evaluator.output_dir == "output/stageinteractor_r50_1x/evaluation"
    apply_overrides(reloaded, ["train.output_dir=elsewhere", "model.decoder.embed_dim=64"])
    assert reloaded.dataloader.evaluator.output_dir == "elsewhere/evaluation"
    assert reloaded.model.neck.out_channels == reloaded.model.queries.embed_dim == 64


# Overrides


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.max_iter=12", 12),
        ("optimizer.lr=1e-4", 1e-4),
        ("optimizer.weight_decay=0.05", 0.05),
        ("model.pixel_mean=[1,2,3.5]", [1, 2, 3.5]),
        ("dataloader.train.mapper.augmentations=[]", []),
        ("train.epochs=null", None),
        ("train.model_ema.enabled=true", True),
        ("train.init_checkpoint=runs/a.pth", "runs/a.pth"),
        ("train.init_checkpoint=a=b", "a=b"),
        ("train.init_checkpoint='1'", "1"),
        ("model.criterion.assigner.scope=[-2,null]", [-2, None]),
        ("model.pixel_mean.1=7", 7),
        ("dataloader.train.mapper.augmentations.0.prob=0.1", 0.1),
        ("model.decoder.strides=[4,8]", [4, 8]),  # not in the config, but a parameter
        ("dataloader.train.mapper.augmentations.1.interp=2", 2),
    ],
)
def test_override_puts_the_value_there(cfg: DictConfig, override: str, expected: Any):
    value = overridden(cfg, override)
    assert value == expected
    assert type(value) is type(expected) or isinstance(expected, list)


def test_overrides_are_applied_in_order_and_leave_the_rest(cfg: DictConfig):
    untouched = OmegaConf.to_container(cfg, resolve=False)
    apply_overrides(cfg, ["train.max_iter=1", "train.seed=5", "train.max_iter=2"])
    assert (cfg.train.max_iter, cfg.train.seed) == (2, 5)
    untouched["train"] |= {"max_iter": 2, "seed": 5}
    assert OmegaConf.to_container(cfg, resolve=False) == untouched


def test_override_of_a_mapping_changes_only_what_it_names(cfg: DictConfig):
    apply_overrides(cfg, ["train.clip_grad.params={max_norm: 0.1}"])
    assert cfg.train.clip_grad.params == {"max_norm": 0.1, "norm_type": 2.0}


def test_override_of_a_constructor_parameter_reaches_the_object():
    cfg = OmegaConf.create({"layer": L(nn.Linear)(in_features=2, out_features=3)})
    apply_overrides(cfg, ["layer.bias=false", "layer.out_features=4"])
    layer = instantiate(cfg.layer, "layer")
    assert layer.bias is None
    assert layer.weight.shape == (4, 2)


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("train.max_itr=3", "train.max_iter"),
        ("optimizer.learning_rate=3", "optimizer.lr"),
        ("model.decoder.num_stage=3", "model.decoder.num_stages"),
        ("decoder.num_stages=3", "model.decoder.num_stages"),
        ("dataset.train.jsn=x", "dataset.train.json"),
        ("model.decoder.stride=[4]", "model.decoder.strides"),
    ],
)
def test_unknown_key_is_refused_with_the_nearest_one(cfg: DictConfig, override: str, nearest: str):
    before = OmegaConf.to_container(cfg, resolve=False)
    with pytest.raises(ConfigError, match="does not exist; nearest: ") as caught:
        apply_overrides(cfg, [override])
    assert nearest in str(caught.value).partition("nearest: ")[2].split(", ")
    assert OmegaConf.to_container(cfg, resolve=False) == before


@pytest.mark.parametrize(
    "key",
    [
        "train.max_iter.low",  # below a plain value
        "model.pixel_mean.3",  # past the end of a list
        "model.pixel_mean.-1",
        "dataloader.train.mapper.augmentations.7.prob",
        "train.",
        "train..max_iter",
    ],
)
def test_key_that_leads_nowhere_is_refused(cfg: DictConfig, key: str):
    with pytest.raises(ConfigError, match="config key '.*' does not exist"):
        apply_overrides(cfg, [f"{key}=1"])


@pytest.mark.parametrize("override", ["train.max_iter", "=3", "", "--resume"])
def test_override_without_key_and_equals_sign_is_refused(cfg: DictConfig, override: str):
    with pytest.raises(ConfigError, match="write key=value"):
        apply_overrides(cfg, [override])


@pytest.mark.parametrize("override", ["train.epochs=[", "train.epochs={a: ", "train.seed=${nope}"])
def test_value_that_cannot_be_parsed_is_refused_in_one_line(cfg: DictConfig, override: str):
    with pytest.raises(ConfigError, match="cannot be applied") as caught:
        apply_overrides(cfg, [override])
    assert override in str(caught.value)
    assert "\n" not in str(caught.value)


# Instantiation


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (L(nn.MultiheadAttention)(embed_dim=6, num_heads=4), "divisible"),  # AssertionError
        (L(nn.Conv2d)(in_channels=3, out_channels=4, kernel_size=1, groups=2), "groups"),
        (L(nn.Linear)(in_features=2), "out_features"),  # TypeError: argument missing
        (L(nn.Linear)(in_features="${nowhere}", out_features=1), "nowhere"),
    ],
)
def test_error_of_a_constructor_names_the_key(node: DictConfig, reason: str):
    cfg = OmegaConf.create({"part": node}, flags={"allow_objects": True})
    with pytest.raises(ConfigError, match="config key 'model.part' cannot be built") as caught:
        instantiate(cfg.part, "model.part")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("model.pixel_mean=[1,2]", "pixel_mean"),
        ("model.pixel_std=[1,0,1]", "pixel_std"),
        ("model.pixel_mean=text", "model"),
        ("model.size_divisibility=0", "size_divisibility"),
        ("model.decoder.num_stages=0", "num_stages"),
        ("model.decoder.num_groups=0", "model"),  # ZeroDivisionError
        ("model.decoder.embed_dim=-4", "model"),  # RuntimeError
        ("model.backbone.stages.depth=51", "model"),  # KeyError
        ("lr_multiplier.warmup_iters=-1", "warmup_iters"),
        ("lr_multiplier.drops=null", "lr_multiplier"),
    ],
)
def test_a_value_that_cannot_be_built_is_one_line(cfg: DictConfig, override: str, key: str):
    apply_overrides(cfg, [override])
    node = override.partition(".")[0]
    with pytest.raises(ConfigError, match=rf"'{node}' cannot be built: .*") as caught:
        instantiate(cfg[node], node)
    assert key in str(caught.value) and "\n" not in str(caught.value)


def test_a_class_whose_package_is_gone_is_named_by_its_key():
    node = OmegaConf.create({"_target_": "a_package_that_is_gone.Model"})
    with pytest.raises(ConfigError, match=r"'model' cannot be built: .*a_package_that_is_gone"):
        instantiate(node, "model")


def test_errors_of_ours_keep_their_own_words():
    node = L(TimmBackbone)(name="tf_efficientnet_lite0", weights="nowhere.pth")
    with pytest.raises(ConfigError, match=r"^model.backbone.weights: no file 'nowhere.pth'"):
        instantiate(node, "model")
