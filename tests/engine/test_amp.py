"""``train.amp`` chooses the precision by device."""

import pytest
from omegaconf import OmegaConf

from stageinteractor.engine.precision import precision_name
from stageinteractor.errors import ConfigError


def name_of(device: str, enabled: bool, dtype: str) -> str:
    train = {"device": device, "amp": {"enabled": enabled, "dtype": dtype}}
    return precision_name(OmegaConf.create(train))


@pytest.mark.parametrize(
    ("device", "enabled", "dtype", "expected"),
    [
        ("cpu", False, "bf16", "off"),
        ("cpu", True, "auto", "bf16"),
        ("cpu", True, "bf16", "bf16"),
        ("cuda", True, "auto", "fp16"),
        ("cuda:1", True, "fp16", "fp16"),
        ("cuda", True, "bf16", "bf16"),
    ],
)
def test_precision_follows_the_device(device, enabled, dtype, expected):
    assert name_of(device, enabled, dtype) == expected


def test_float16_on_a_cpu_is_refused():
    with pytest.raises(ConfigError, match=r"train\.amp\.dtype=bf16"):
        name_of("cpu", True, "fp16")
