"""Keys that look like a described one."""

import contextlib

from omegaconf import OmegaConf

from stageinteractor.config import get_config
from stageinteractor.errors import MissingDependencyError
from stageinteractor.schema.misspelt import misspelt_keys
from stageinteractor.zoo import list_configs


def test_keys_like_a_described_one_are_named():
    train = {"chanels_last": True, "checkpointer": {"perriod": 5, "period": 5, "max_to_kep": 2}}
    assert dict(misspelt_keys(OmegaConf.create({"train": train}))) == {
        "train.chanels_last": "train.channels_last",
        "train.checkpointer.max_to_kep": "train.checkpointer.max_to_keep",
    }  # not perriod: period is there


def test_keys_of_other_tools_are_left_alone():
    train = {"my_notes": "x", "dist_url": "auto", "amp": None, "checkpointer": "???"}
    assert not list(misspelt_keys(OmegaConf.create({"train": train})))
    assert not list(misspelt_keys(OmegaConf.create({"model": {"train": 1}})))


def test_no_config_of_the_zoo_has_one():
    checked = 0
    for name in list_configs():
        with contextlib.suppress(MissingDependencyError):  # detrex
            assert not list(misspelt_keys(get_config(name))), name
            checked += 1
    assert checked > 20
