"""What the schema takes, puts into another form, or refuses by its key."""

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from stageinteractor.config import apply_overrides, get_config, load_config
from stageinteractor.engine.training import train
from stageinteractor.errors import ConfigError
from stageinteractor.schema import check_config, require_keys

ZOO = Path(__file__).resolve().parents[2] / "projects/stageinteractor/configs"


@pytest.fixture
def cfg() -> DictConfig:
    cfg = get_config("common/data/coco_format.py")
    cfg.train = get_config("common/train.py").train
    return cfg


@pytest.mark.parametrize(
    "override",
    [
        "train.max_iter=2.5",
        "train.max_iter=0",
        "train.max_iter=true",
        "train.max_iter=ten",
        "train.epochs=0",
        "train.log_period=0",
        "train.log_period=null",
        "train.checkpointer.period=0",
        "train.checkpointer.max_to_keep=0",
        "train.seed=-2",
        "train.seed=null",
        "train.seed=1e12",
        "train.writers=[paper]",
        "train.model_ema.decay=1.0",
        "train.clip_grad.params.max_norm=null",
        "train.clip_grad.params.max_norm=.nan",
        "train.scale_lr.base_batch_size=0",
        "train.accumulate=0",
        "train.amp.dtype=null",
        "train.amp.dtype=fp8",
        "train.eval_precision=fp8",
        "train.wandb.params.mode=off",
        "train.output_dir=",
        "train.output_dir=???",
        "train.clip_grad.enabled=1.5",
        "train.fast_dev_run.enabled=null",
        "train.ddp.fp16_compression=null",
        "dataloader.train.total_batch_size=0",
        "dataloader.test.num_workers=-1",
        "dataloader.train.mapper.image_format=bgr",
        "dataloader.test.mapper.augmentations=null",
        "dataloader.evaluator.backend=off",
        "dataloader.evaluator.nms_threshold=1",
    ],
)
def test_a_wrong_value_is_named_by_its_key(cfg: DictConfig, override: str):
    apply_overrides(cfg, [override])
    with pytest.raises(ConfigError) as caught:
        check_config(cfg)
    assert override.partition("=")[0] in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "name"),
    [
        ("train.amp.dtype=float16", "fp16"),
        ("train.amp.dtype=torch.bfloat16", "bf16"),
        ("train.eval_precision=bfloat16", "bf16"),
    ],
)
def test_the_message_for_a_dtype_of_torch_names_ours(cfg: DictConfig, override: str, name: str):
    apply_overrides(cfg, [override])
    with pytest.raises(ConfigError, match=f"write {name}"):
        check_config(cfg)


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("train.max_iter=1e3", 1000),
        ("train.max_iter='1e3'", 1000),
        ("train.log_period=20.0", 20),
        ("train.eval_period=null", 0),
        ("train.checkpointer.max_to_keep=null", None),
        ("train.clip_grad.enabled=false", False),
        ("train.clip_grad.params.norm_type=.inf", float("inf")),
        ("train.writers=null", []),
        ("train.writers=tensorboard", ["tensorboard"]),
        ("train.amp.dtype=bf16", "bf16"),
        ("train.compile=on", True),
        ("train.init_checkpoint=null", None),
        ("dataloader.train.num_workers=0.0", 0),
        ("dataloader.test.mapper.image_format=BGR", "BGR"),
    ],
)
def test_a_value_in_another_form_is_understood(cfg: DictConfig, override: str, value: object):
    apply_overrides(cfg, [override])
    check_config(cfg)
    checked = OmegaConf.select(cfg, override.partition("=")[0])
    assert checked == value and isinstance(checked, type(value) | type(cfg.train.writers))


@pytest.mark.parametrize(
    ("key", "value"),
    [("amp", None), ("amp", "bf16"), ("model_ema", True), ("clip_grad", None), ("wandb", [1])],
)
def test_a_value_in_place_of_a_mapping_is_named(cfg: DictConfig, key: str, value: object):
    cfg.train[key] = value
    with pytest.raises(ConfigError, match=rf"train\.{key} is"):
        check_config(cfg)


def test_all_wrong_keys_are_named_at_once(cfg: DictConfig):
    cfg.train.update(max_iter=0, log_period=0)
    with pytest.raises(ConfigError, match=r"train\.max_iter is 0.*train\.log_period is 0"):
        check_config(cfg)


def test_a_key_of_several_types_is_named_once_with_all_reasons(cfg: DictConfig):
    cfg.train.channels_last = "maybe"
    message = r"^train\.channels_last is 'maybe': .*boolean.*, or .*'auto'$"
    with pytest.raises(ConfigError, match=message) as error:
        check_config(cfg)
    assert str(error.value).count("channels_last") == 1


@pytest.mark.parametrize("value", [[], [True], ["auto", 1], {"a": 1}])
def test_a_key_of_several_types_refuses_lists_and_mappings(cfg: DictConfig, value):
    cfg.train.channels_last = value
    with pytest.raises(ConfigError, match=r"^train\.channels_last is "):
        check_config(cfg)


def test_interpolations_stay(cfg: DictConfig):
    cfg.train.seed = 7.0
    check_config(cfg)
    assert (cfg.train.seed, cfg.dataloader.train.seed) == (7, 7)
    assert OmegaConf.is_interpolation(cfg.dataloader.train, "seed")


def test_minus_one_draws_no_seed():
    cfg = OmegaConf.create({"train": {"seed": -1}})
    check_config(cfg)
    assert cfg.train.seed == 0


def test_an_interpolation_that_leads_nowhere_is_refused(cfg: DictConfig):
    cfg.train.max_iter = "${nowhere}"
    with pytest.raises(ConfigError, match="nowhere"):
        check_config(cfg)


def test_other_keys_and_missing_keys_are_left_alone():
    cfg = OmegaConf.create({"train": {"ddp": {"fp16": True}, "max_iter": 3}, "model": None})
    before = cfg.copy()
    check_config(cfg)
    assert cfg == before


def test_a_required_key_is_named():
    with pytest.raises(ConfigError, match=r"train\.seed"):
        require_keys(OmegaConf.create({"train": {"max_iter": 1}}), ("train.max_iter", "train.seed"))


@pytest.mark.parametrize(
    "key", ["train.output_dir", "train.init_checkpoint", "dataset.val.json", "dataset.train.images"]
)
def test_paths_begin_at_the_home_folder(cfg: DictConfig, key: str, monkeypatch, tmp_path: Path):
    monkeypatch.setenv("HOME", str(tmp_path))
    apply_overrides(cfg, [f"{key}=~/here"])
    assert OmegaConf.select(cfg, key) == f"{tmp_path}/here"
    OmegaConf.update(cfg, key, "~/there")
    check_config(cfg)
    assert OmegaConf.select(cfg, key) == f"{tmp_path}/there"


@pytest.mark.parametrize("name", ["stageinteractor_r50_1x.py", "demo/tree_crowns.py"])
def test_configs_of_the_zoo_stay_as_they_are(name: str):
    cfg = load_config(ZOO / name)
    before = cfg.copy()
    check_config(cfg)
    assert cfg == before


@pytest.mark.parametrize(
    "evaluator",
    [
        {"_target_": "detectron2.evaluation.COCOEvaluator", "output_dir": None},
        {"_target_": "somebody.Evaluator", "backend": "numpy", "nms_threshold": "soft"},
        [{"_target_": "stageinteractor.evaluation.CocoEvaluator"}],
    ],
)
def test_what_other_evaluators_are_given_is_left_to_them(cfg: DictConfig, evaluator: object):
    cfg.dataloader.evaluator = evaluator
    check_config(cfg)


def test_a_training_may_have_several_evaluators(toy: DictConfig):
    toy.dataloader.evaluator = [toy.dataloader.evaluator]
    train(toy)
    assert (Path(toy.train.output_dir) / "evaluation/metrics.json").is_file()


@pytest.mark.parametrize(
    "key", [*get_config("common/train.py").train, "model_ema.decay", "scale_lr.base_batch_size"]
)
def test_a_missing_key_is_named_or_not_needed(toy: DictConfig, key: str):
    toy.train.model_ema.enabled = toy.train.scale_lr.enabled = True
    parent, _, name = f"train.{key}".rpartition(".")
    del OmegaConf.select(toy, parent)[name]
    try:
        train(toy)
    except ConfigError as error:
        assert f"train.{key}" in str(error)
