"""Keys that hold text take an override as it stands."""

import math

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from stageinteractor.config import apply_overrides, get_config, instantiate, load_config
from stageinteractor.errors import ConfigError
from stageinteractor.overrides import YACS_KEYS, flatten_overrides

AS_THEY_STAND = (
    *("2024", "1e5", "null", "yes", "off", "1:30", "0x10", "[a]", "{a: b}", "a: b", "a #b", "a b"),
    *(
        "~x",
        "2024-01-02",
        "1_000",
        "true",
        "@a",
        "%a",
        "- a",
        "a=b",
        "it's",
        "'a'b",
        "ü/日本",
        "!x",
    ),
)


@pytest.fixture
def cfg() -> DictConfig:
    cfg = get_config("common/data/coco_format.py")
    cfg.train = get_config("common/train.py").train
    cfg.model = {"weights": "a.pth", "width": "${..train.max_iter}", "depth": 3}
    return cfg


@pytest.mark.parametrize("text", AS_THEY_STAND)
@pytest.mark.parametrize("key", ["train.output_dir", "train.amp.dtype", "dataset.train.json"])
def test_text_is_kept_as_it_stands(cfg: DictConfig, key: str, text: str):
    apply_overrides(cfg, [f"{key}={text}"])
    assert OmegaConf.select(cfg, key) == text


def test_text_in_quotes_is_read_as_yaml(cfg: DictConfig):
    apply_overrides(cfg, ["train.output_dir='a b'", 'train.best_metric="bbox\\x2fAP50"'])
    assert (cfg.train.output_dir, cfg.train.best_metric) == ("a b", "bbox/AP50")


def test_text_may_refer_to_another_key(cfg: DictConfig):
    apply_overrides(cfg, ["train.output_dir=runs/${dataset.name}", "dataset.name=2024"])
    assert cfg.train.output_dir == "runs/2024"


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("train.init_checkpoint=null", None),
        ("train.wandb.params.name=null", None),
        ("train.wandb.params.name=2024", "2024"),
        ("model.weights=null", None),
        ("model.weights=2024", "2024"),
        ("model.weights=[a, b]", ["a", "b"]),
        ("model.width=64", 64),
        ("model.depth=off", False),
        ("model.depth=${train.log_period}", 20),
        ("model.depth=[1,'${train.log_period}']", [1, 20]),
    ],
)
def test_a_key_that_may_hold_more_than_text_takes_it(cfg: DictConfig, override: str, value: object):
    apply_overrides(cfg, [override])
    assert OmegaConf.select(cfg, override.partition("=")[0]) == value


@pytest.mark.parametrize("key", ["train.amp", "train.clip_grad", "train.fast_dev_run"])
@pytest.mark.parametrize("value", ["true", "null", "bf16"])
def test_a_single_value_does_not_replace_a_mapping(cfg: DictConfig, key: str, value: str):
    with pytest.raises(ConfigError, match=rf"{key}\.enabled"):
        apply_overrides(cfg, [f"{key}={value}"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("train.ema.enabled", "train.model_ema.enabled"),
        ("train.clip_grad.max_norm", "train.clip_grad.params.max_norm"),
        ("train.wandb.project", "train.wandb.params.project"),
    ],
)
def test_the_message_for_an_old_key_names_the_new_one(cfg: DictConfig, old: str, new: str):
    with pytest.raises(ConfigError, match=new):
        apply_overrides(cfg, [f"{old}=1"])


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("train.tta", "[1.0]", [1.0]),
        ("train.frozen_stages", "1", 1),
        ("train.early_stopping.enabled", "true", True),
        ("train.eval_precision", "bf16", "bf16"),
    ],
)
def test_config_of_an_older_run_takes_a_newer_key(
    cfg: DictConfig, key: str, text: str, value: object
):
    del cfg.train[key.split(".")[1]]
    apply_overrides(cfg, [f"{key}={text}"])
    assert OmegaConf.select(cfg, key) == value


@pytest.mark.parametrize("key", ["train.ttta", "train.early_stopping.patient", "train.tta.x"])
def test_an_undescribed_key_is_refused_in_an_older_config(cfg: DictConfig, key: str):
    del cfg.train.tta, cfg.train.early_stopping
    with pytest.raises(ConfigError, match=key.split(".")[1]):
        apply_overrides(cfg, [f"{key}=1"])


def test_a_constructor_that_is_gone_does_not_hide_the_wrong_key():
    cfg = OmegaConf.create({"model": {"_target_": "a_package_that_is_gone.Model"}})
    with pytest.raises(ConfigError, match=r"model\.x"):
        apply_overrides(cfg, ["model.x=1"])


QUALITIES = {  # shapes of Stable-DINO's table 7: override -> target of IoU 0.25 and p 0.5
    "_target_: stageinteractor.criterion.Exponential": math.expm1(0.25) / math.expm1(1.0),
    "_target_: stageinteractor.criterion.Sine": math.sin(math.pi / 8),
    "_target_: stageinteractor.criterion.Power, iou: 0.5": 0.5,
    "_target_: stageinteractor.criterion.Power, iou: 1.0, score: 1.0": 0.125,
    "_target_: stageinteractor.criterion.Power, iou: 0.0, score: 1.0": 0.5,
}


@pytest.mark.parametrize("quality", QUALITIES)
def test_a_mapping_that_names_its_target_replaces_the_node(quality):
    cfg = load_config("stageinteractor_r50_stable_1x")
    key = "model.criterion.class_loss.target.quality"
    apply_overrides(cfg, [f"{key}={{{quality}}}", "model.criterion.class_loss.target.rescale=null"])
    target = instantiate(cfg.model.criterion.class_loss, "class_loss").target
    assert target.rescale is None
    value = target.quality(torch.tensor(0.25), torch.tensor(0.5))
    assert value.item() == pytest.approx(QUALITIES[quality])


def test_a_mapping_without_a_target_is_merged():
    cfg = load_config("stageinteractor_r50_stable_1x")
    apply_overrides(cfg, ["model.criterion.class_loss.target.quality={score: 1.0}"])
    assert cfg.model.criterion.class_loss.target.quality.iou == 2.0
    apply_overrides(cfg, ["train.amp={enabled: true}"])
    assert cfg.train.amp.dtype == "auto"


@pytest.mark.parametrize(
    "overrides",
    ["train.seed=5", ["train.seed=5"], ("train.seed=4", ["train.seed=5"]), [("train.seed=5",), []]],
)
def test_overrides_may_be_lists(cfg: DictConfig, overrides):
    apply_overrides(cfg, overrides)
    assert cfg.train.seed == 5


@pytest.mark.parametrize("override", [5, None, {"train.seed": 5}])
def test_an_override_that_is_no_text_is_refused(override):
    with pytest.raises(ConfigError, match="key=value"):
        flatten_overrides(["train.seed=5", override])


@pytest.mark.parametrize("key", YACS_KEYS)
def test_the_message_for_a_yacs_key_names_ours(key: str):
    cfg = load_config("digits_in_photos")
    with pytest.raises(ConfigError, match=YACS_KEYS[key]):
        apply_overrides(cfg, [f"{key}=1"])
    apply_overrides(cfg, [f"{YACS_KEYS[key]}=1"])


def test_a_yacs_key_that_a_config_has_is_set():
    cfg = OmegaConf.create({"SEED": 1})
    apply_overrides(cfg, ["SEED=2"])
    assert cfg.SEED == 2
