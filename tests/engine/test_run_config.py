"""The config.yaml of a run: written, compared and kept."""

import pytest
from omegaconf import OmegaConf

from stageinteractor.config import load_config, save_config
from stageinteractor.engine.run_config import (
    changes_since,
    describe_changes,
    refuse_fixed_settings,
    save_run_config,
    save_run_config_if_none,
    warn_of_other_classes,
)
from stageinteractor.errors import ConfigError


def config(folder, **train):
    return OmegaConf.create(
        {
            "train": {"output_dir": str(folder), "max_iter": 4, "init_checkpoint": ""} | train,
            "optimizer": {"betas": (0.9, 0.999), "lr": "${train.max_iter}"},
            "dataset": {"class_names": ["disc", "bar"]},
            "hooks": [{"a": 1}, {"b": [1, 2]}],
        },
        flags={"allow_objects": True},
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_same_settings_do_not_rewrite_the_file(tmp_path):
    save_run_config(config(tmp_path))
    before = (tmp_path / "config.yaml").stat()
    save_run_config(config(tmp_path))
    assert (tmp_path / "config.yaml").stat() == before
    assert names(tmp_path) == ["config.yaml"]


def test_earlier_configs_are_kept_and_changes_logged(tmp_path, caplog):
    for length in (4, 5, 6):
        save_run_config(config(tmp_path, max_iter=length))
    kept = ["config.previous.yaml", "config.previous_2.yaml", "config.yaml"]
    assert names(tmp_path) == kept
    assert [load_config(tmp_path / name).train.max_iter for name in kept] == [4, 5, 6]
    assert "train.max_iter: 5 -> 6" in caplog.text


def test_changes_in_lists_and_interpolations(tmp_path):
    save_config(config(tmp_path), tmp_path / "config.yaml")
    cfg = config(tmp_path)
    cfg.optimizer.lr = 4
    cfg.hooks[1].b = [1, 3]
    cfg.optimizer.eps = 1e-8
    assert changes_since(cfg) == {
        "optimizer.lr": ("${train.max_iter}", 4),
        "hooks.1.b": ([1, 2], [1, 3]),
        "optimizer.eps": (None, 1e-8),
    }


def test_changes_of_what_a_checkpoint_holds_come_first():
    changes = {"lr_multiplier.x": (1, 2), "dataset.y": (3, None), "model.z": ("a", "b" * 999)}
    text = describe_changes(changes, limit=2)
    assert text.startswith("model.z: 'a' -> 'bbb")
    assert text.endswith("lr_multiplier.x: 1 -> 2 and 1 more") and len(text) < 300
    assert describe_changes({}) == ""


@pytest.mark.parametrize("content", [b"", b"a: [", b"[]", b"\xff"])
def test_invalid_config_file_is_kept_too(tmp_path, content):
    (tmp_path / "config.yaml").write_bytes(content)
    assert changes_since(config(tmp_path)) == {}
    save_run_config(config(tmp_path))
    assert (tmp_path / "config.previous.yaml").read_bytes() == content
    assert load_config(tmp_path / "config.yaml").train.max_iter == 4


def test_evaluation_writes_a_config_only_if_there_is_none(tmp_path):
    save_run_config_if_none(config(tmp_path))
    save_run_config_if_none(config(tmp_path, max_iter=9))
    assert load_config(tmp_path / "config.yaml").train.max_iter == 4
    assert names(tmp_path) == ["config.yaml"]


def test_change_of_a_fixed_setting_is_refused(tmp_path):
    save_config(config(tmp_path), tmp_path / "config.yaml")
    cfg = config(tmp_path, init_checkpoint="other.pth")
    with pytest.raises(ConfigError, match=r"train\.init_checkpoint.*other\.pth"):
        refuse_fixed_settings(changes_since(cfg))
    cfg = config(tmp_path)
    cfg.dataset.class_names = ["bar", "disc"]
    with pytest.raises(ConfigError, match=r"dataset\.class_names.*train\.init_checkpoint"):
        refuse_fixed_settings(changes_since(cfg))
    cfg.dataset.class_names = [f"class {number}" for number in range(999)]
    with pytest.raises(ConfigError) as error:
        refuse_fixed_settings(changes_since(cfg))
    assert len(str(error.value)) < 600
    save_config(config(tmp_path, init_checkpoint="first.pth"), tmp_path / "config.yaml")
    refuse_fixed_settings(changes_since(config(tmp_path)))  # unset after the start: allowed


@pytest.mark.parametrize(
    ("now", "warns"),
    [(["disc", "bar"], False), (["disc", "cow"], True), (["bar", "disc"], True), (["cow"], False)],
    ids=["same", "name", "order", "number"],
)
def test_other_classes_of_a_checkpoint_are_a_warning(tmp_path, caplog, now, warns):
    save_run_config(config(tmp_path))
    cfg = config(tmp_path / "other")
    cfg.dataset.class_names = now
    warn_of_other_classes(cfg, tmp_path / "model_final.pth")
    assert bool(caplog.messages) == warns
    if warns:
        (message,) = caplog.messages
        assert str(tmp_path / "config.yaml") in message and f"{now[1]!r}" in message


def test_a_checkpoint_without_a_config_is_no_warning(tmp_path, caplog):
    warn_of_other_classes(config(tmp_path), tmp_path / "model_final.pth")
    warn_of_other_classes(config(tmp_path), "https://host/model_final.pth")
    assert caplog.messages == []
